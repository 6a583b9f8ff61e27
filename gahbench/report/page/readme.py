"""The title, the headline, the findings and the picture in the README.md of a results folder."""

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
    """What a page about results says of itself; empty where it does not.

    ``findings`` are HTML; ``picture`` is the path of the first picture.
    """

    title: str = ""
    headline: str = ""
    findings: Sequence[Markup] = ()
    picture: str = ""


def read_markdown(file: Path) -> str:
    """Return the text of a Markdown file; empty for links, and for files that are absent, too large or unreadable."""
    try:
        return read_regular(file, MAX_BYTES, follow=False).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def read_readme(folder: Path) -> Readme:
    """Read the README.md of a folder."""
    text = read_markdown(folder / "README.md")
    tokens = _MARKDOWN.parse(text)
    # Paragraphs of list items have level 3.
    items = [token for token in _section(tokens) if token.type == "inline" and token.level == 3]
    findings = tuple(_html([token.copy(children=_without_links(token))]) for token in items)
    parts = [part for token in tokens for part in token.children or ()]
    picture = next((str(part.attrs["src"]) for part in parts if part.type == "image"), "")
    return Readme(_title(tokens), headline(text) or "", findings, unquote(picture))


def headline(text: str) -> str | None:
    """Return the first sentence of the findings of a page as plain text, or their beginning if it is bold.

    Findings stand under the heading ``## Findings`` or ``## What it shows``; ``None`` without them. The headline does
    not end with a full stop.
    """
    paragraph = next((token for token in _section(_MARKDOWN.parse(text)) if token.type == "inline"), None)
    if paragraph is None:
        return None
    parts = [part for part in paragraph.children or () if part.content or part.type != "text"]
    if parts and parts[0].type == "strong_open":
        return _plain(list(takewhile(lambda part: part.type != "strong_close", parts[1:]))).rstrip(".:")
    plain = _plain(parts)
    sentence = _SENTENCE.match(plain)
    return sentence[0] if sentence else plain


def render_markdown(text: str) -> tuple[str, Markup]:
    """Return the title of a Markdown text, and the text below it as HTML without links and pictures."""
    tokens = _MARKDOWN.parse(text)
    title = _title(tokens)
    if tokens and tokens[0].tag == "h1":
        del tokens[:3]
    for token in tokens:
        # The content security policy of pages forbids the style attributes of cells.
        token.attrs = {}
        token.children = token.children and _without_links(token)
    markup = _html(tokens).replace("<table>", Markup('<div class="scroll" tabindex="0">\n<table>'))
    return title, markup.replace("</table>", Markup("</table>\n</div>")).replace("<pre>", Markup('<pre tabindex="0">'))


def _section(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens below the heading of findings, up to the next heading."""
    for index, token in enumerate(tokens):
        if token.tag == "h2" and _plain(tokens[index + 1].children or ()).lower() in _HEADINGS:
            return list(takewhile(lambda token: token.type != "heading_open", tokens[index + 3 :]))
    return []


def _title(tokens: Sequence[Token]) -> str:
    return next(
        (_plain(tokens[index + 1].children or ()) for index, token in enumerate(tokens) if token.tag == "h1"), ""
    )


def _plain(parts: Sequence[Token]) -> str:
    return "".join(" " if part.type in ("softbreak", "hardbreak") else part.content for part in parts).strip()


def _without_links(paragraph: Token) -> list[Token]:
    return [part for part in paragraph.children or () if part.type not in ("link_open", "link_close", "image")]


def _html(tokens: Sequence[Token]) -> Markup:
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
