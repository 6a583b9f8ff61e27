"""The title, the headline and the picture in the README.md of a results folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markupsafe import Markup

from gahbench._util.files import read_regular

if TYPE_CHECKING:
    from markdown_it.token import Token

#: The largest file that is read, in bytes: the time to parse forged Markdown grows with the square of its size.
MAX_BYTES = 200_000
#: The headings of findings.
_HEADINGS = ("findings", "what it shows")
_SENTENCE = re.compile(r".+?(?<!et al)(?<!e\.g)(?<!i\.e)(?<!vs)(?=[.!?](?:\s|$))")
# HTML in the text is shown as text.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True)
class Readme:
    """What a page about results says of itself; empty where it does not. ``picture`` is the path of the first one."""

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
    tokens = _MARKDOWN.parse(read_markdown(folder / "README.md"))
    parts = [part for token in tokens for part in token.children or ()]
    picture = next((str(part.attrs["src"]) for part in parts if part.type == "image"), "")
    return Readme(_title(tokens), _headline(tokens), unquote(picture))


def _headline(tokens: Sequence[Token]) -> str:
    """Return the first sentence of the findings as plain text, without its full stop, or their beginning if it is bold.

    Findings stand under the heading ``## Findings`` or ``## What it shows``.
    """
    heads = (
        index
        for index, token in enumerate(tokens)
        if token.tag == "h2" and _plain(tokens[index + 1].children or ()).lower() in _HEADINGS
    )
    section = takewhile(lambda token: token.type != "heading_open", tokens[next(heads, len(tokens)) + 3 :])
    paragraph = next((token for token in section if token.type == "inline"), None)
    parts = [part for part in paragraph.children or () if part.content or part.type != "text"] if paragraph else []
    if parts and parts[0].type == "strong_open":
        return _plain(list(takewhile(lambda part: part.type != "strong_close", parts[1:]))).rstrip(".:")
    sentence = _SENTENCE.match(_plain(parts))
    return sentence[0] if sentence else _plain(parts)


def render_markdown(text: str) -> tuple[str, Markup]:
    """Return the title of a Markdown text, and the text below it as HTML without links and pictures."""
    tokens = _MARKDOWN.parse(text)
    title = _title(tokens)
    if tokens and tokens[0].tag == "h1":
        del tokens[:3]
    hidden = ("link_open", "link_close", "image")
    for token in tokens:
        # The content security policy of pages forbids the style attributes of cells.
        token.attrs = {}
        token.children = token.children and [part for part in token.children if part.type not in hidden]
    markup = Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
    markup = markup.replace("<table>", Markup('<div class="scroll" tabindex="0">\n<table>'))
    return title, markup.replace("</table>", Markup("</table>\n</div>")).replace("<pre>", Markup('<pre tabindex="0">'))


def _title(tokens: Sequence[Token]) -> str:
    found = (_plain(tokens[index + 1].children or ()) for index, token in enumerate(tokens) if token.tag == "h1")
    return next(found, "")


def _plain(parts: Sequence[Token]) -> str:
    return "".join(" " if part.type in ("softbreak", "hardbreak") else part.content for part in parts).strip()
