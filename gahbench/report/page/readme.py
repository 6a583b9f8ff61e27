"""The title and the findings in the README.md of a results folder, as plain paragraphs for a report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from gahbench._util.files import read_regular

#: The largest file that is read, in bytes.
MAX_BYTES = 200_000
#: The headings of a list of findings.
_HEADINGS = ("findings", "what it shows")
_ITEM = re.compile(r"(?:[-*]|\d+\.) +(.*)")
_INLINE = re.compile(
    r"\*\*(?P<bold>.+?)\*\*|`(?P<code>[^`]+)`|!?\[(?P<link>[^\]]*)\]\([^)]*\)|(?<!\w)\*(?P<emphasis>[^\s*][^*]*)\*"
)


@dataclass(frozen=True)
class Readme:
    """The title of a page about results, and its findings as HTML; empty without a page or a list of findings."""

    title: str = ""
    findings: Sequence[Markup] = ()


def read_readme(folder: Path) -> Readme:
    """Read the README.md of a folder; links, unreadable files and texts without structure give an empty page."""
    try:
        text = read_regular(folder / "README.md", MAX_BYTES, follow=False).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return Readme()
    lines = text.splitlines()
    title = next((line[2:].strip() for line in lines if line.startswith("# ")), "")
    return Readme(re.sub(r"[`*]", "", title), [_inline(item) for item in _items(lines)])


def _items(lines: Sequence[str]) -> Iterator[str]:
    """Yield the items of the first list below a heading of findings, each on one line."""
    headings = (index for index, line in enumerate(lines) if re.sub("^#+ ", "", line).strip().lower() in _HEADINGS)
    start = next((index for index in headings if lines[index].startswith("##")), None)
    item: list[str] = []
    for line in lines[start + 1 :] if start is not None else []:
        if match := _ITEM.match(line):
            if item:
                yield " ".join(item)
            item = [match[1]]
        elif item and line.startswith(" ") and line.strip():
            item.append(line.strip())
        elif line.strip():
            break
    if item:
        yield " ".join(item)


def _inline(text: str) -> Markup:
    """Return a text as HTML: bold, emphasis and code stay marked, links become their text, and the rest is escaped."""
    parts, position = [], 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[position : match.start()]))
        if match["bold"] is not None:
            parts.append(Markup("<strong>{}</strong>").format(_inline(match["bold"])))
        elif match["code"] is not None:
            parts.append(Markup("<code>{}</code>").format(match["code"]))
        elif match["emphasis"] is not None:
            parts.append(Markup("<em>{}</em>").format(_inline(match["emphasis"])))
        else:
            parts.append(_inline(match["link"]))
        position = match.end()
    return Markup("").join([*parts, escape(text[position:])])
