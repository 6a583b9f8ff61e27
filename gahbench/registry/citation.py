"""The citation in a plugin's docstring."""

from __future__ import annotations

import inspect
import itertools
import re
from typing import Any

#: A heading of numpydoc, with the text below it, up to the next heading.
_REFERENCES = re.compile(r"^References\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^\S[^\n]*\n-{3,}$", re.MULTILINE)
#: The end of a sentence, which that of an initial ("K. Zhang") or of "et al." is not.
_END = re.compile(r"(?<![A-Z])(?<!\bal)(?<!\be\.g)(?<!\bi\.e)\.(?=\s+[A-Z]|\s*$)")
_YEAR = re.compile(r"\b(?:19\d\d|20[0-3]\d)[a-z]?\b")


def citation(target: Any) -> str | None:
    """Return the citation in a class's own docstring.

    It is the section ``References`` of numpydoc, or else the first sentence that holds a year; ``None`` where there is
    neither.
    """
    text = target.__dict__.get("__doc__") if inspect.isclass(target) else getattr(target, "__doc__", None)
    if not text:
        return None
    text = inspect.cleandoc(text)
    section = _REFERENCES.search(text)
    if section:
        return _joined(section[1]) or None
    heading = _HEADING.search(text)
    for paragraph in re.split(r"\n\s*\n", text[: heading.start()] if heading else text):
        for sentence in _sentences(_joined(paragraph)):
            if _YEAR.search(sentence):
                return sentence
    return None


def _sentences(text: str) -> list[str]:
    places = [0, *(found.end() for found in _END.finditer(text)), len(text)]
    return [text[first:last].strip() for first, last in itertools.pairwise(places)]


def _joined(text: str) -> str:
    return " ".join(text.split())
