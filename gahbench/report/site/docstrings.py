"""What the docstring of a plugin says: its description, and what its parameters mean."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from gahbench.registry.source import own_docstring

_UNDERLINE = re.compile(r"^-{3,}$", re.MULTILINE)
#: A role of reStructuredText, such as :func:`~gahbench.list_plugins`.
_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")


@dataclass(frozen=True)
class Description:
    """The parts of a docstring."""

    text: str
    parameters: dict[str, str]


def description(documented: object) -> Description:
    """Return the description of a class or function that is documented as numpydoc says."""
    lines = _ROLE.sub(r"``\1``", own_docstring(documented)).splitlines()
    heads = [place for place in range(1, len(lines)) if _UNDERLINE.match(lines[place].strip())]
    text = lines[: heads[0] - 1] if heads else lines
    found: dict[str, str] = {}
    # The heading of a section is a line above its underline.
    for head, following in itertools.pairwise([*heads, len(lines) + 1]):
        if lines[head - 1].strip() == "Parameters":
            found |= _parameters(lines[head + 1 : following - 1])
    return Description("\n".join(text).strip(), found)


def _parameters(lines: list[str]) -> dict[str, str]:
    meanings: dict[str, list[str]] = {}
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            names = [name.strip().lstrip("*") for name in line.partition(" : ")[0].split(",")]
        for name in names:
            meanings.setdefault(name, [])
            if line.startswith(" "):
                meanings[name].append(line.strip())
    return {name: " ".join(texts) for name, texts in meanings.items()}
