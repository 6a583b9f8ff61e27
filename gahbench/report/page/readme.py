"""The title, the headline and the picture in the README.md of a results folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markupsafe import Markup

from gahbench._util.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markdown_it.token import Token

#: The largest file that is read, in bytes: the time to parse forged Markdown grows with the square of its size.
MAX_BYTES = 200_000
#: The headings of findings.
_HEADINGS = ("findings", "what it shows")
_SENTENCE = re.compile(r".+?(?<!et al)(?<!e\.g)(?<!i\.e)(?<!vs)(?=[.!?](?:\s|$))")

#: HTML in the text is shown as text.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True)
class Readme:
    """What a page about results says of itself; empty where it does not.

    ``headline`` is the first sentence under the heading ``## Findings`` or ``## What it shows`` as plain text without
    its full stop, or its beginning if it is bold. ``picture`` is the path of the first picture.
    """

    title: str = ""
    headline: str = ""
    picture: str = ""


def read_markdown(file: Path) -> str:
    """Return the text of a Markdown file; empty for links, and for files that are absent, too large or unreadable."""
    try:
        return read_regular(file, MAX_BYTES, follow=False).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def read_readme(folder: Path) -> Readme:
    """Read the README.md of a folder."""
    title = headline = picture = section = ""
    tokens = _PARSER.parse(read_markdown(folder / "README.md"))
    for before, token in pairwise(tokens):
        parts = token.children or []
        picture = picture or next((str(part.attrs["src"]) for part in parts if part.type == "image"), "")
        if before.type == "heading_open":
            section = _plain(parts).lower() if before.tag == "h2" else ""
            title = title or (_plain(parts) if before.tag == "h1" else "")
        elif token.type == "inline" and section in _HEADINGS:
            headline = headline or _headline(parts)
    return Readme(title, headline, unquote(picture))


def html_of_markdown(text: str, pages: Mapping[str, str]) -> Markup:
    """Return Markdown as HTML. Links lead to the values of ``pages`` by their address; other links are text."""
    linked = re.sub(
        r"\[([^]]+)\]\(([^)]*)\)", lambda link: f"[{link[1]}]({pages[link[2]]})" if link[2] in pages else link[1], text
    )
    return Markup(_PARSER.render(linked).replace("<table>", '<table class="prose" tabindex="0">'))


def _headline(parts: list[Token]) -> str:
    text = _plain(parts)
    words = [part for part in parts if part.content or part.type != "text"]
    if words[0].type == "strong_open":
        end = next(index for index, part in enumerate(words) if part.type == "strong_close")
        return _plain(words[:end]).rstrip(".:")
    sentence = _SENTENCE.match(text)
    return sentence[0] if sentence else text


def _plain(parts: list[Token]) -> str:
    return "".join(" " if part.type in ("softbreak", "hardbreak") else part.content for part in parts).strip()
