"""Pages of reading: Markdown as HTML that holds no markup of its own, with links to the pages of a site."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererProtocol
    from markdown_it.token import Token

#: Of headings, apart from the identifiers that pages have.
PREFIX = "s-"
_OUTSIDE = re.compile("(?:https?|mailto):", re.IGNORECASE)
_PICTURE = re.compile("data:image/(?:png|gif|jpeg|webp);", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """A text of Markdown as HTML."""

    title: str
    markup: str


def reading(text: str, link: Callable[[str], str | None], image: Callable[[str], str | None]) -> Reading:
    """Return a text of Markdown as HTML."""
    renderer = _renderer()
    tokens = renderer.parse(text)
    title = _take_title(tokens)
    seen: dict[str, int] = {}
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrs["id"] = PREFIX + _slug(tokens[place + 1].content, seen)
        if token.type in ("th_open", "td_open"):
            # The policy admits no style in an attribute.
            token.attrs = {} if "right" in str(token.attrs.get("style")) else {"class": "left"}
        token.children = token.children and _with_addresses(token.children, link, image)
    return Reading(title, renderer.renderer.render(tokens, renderer.options, {}))


def paragraphs(text: str) -> str:
    """Return a plain text with lists and ``code`` as HTML."""
    return str(_renderer("emphasis", "link", "image", "heading", "lheading", "html_block").render(text))


def inline(text: str) -> str:
    """Return a plain text of one paragraph with ``code`` as HTML."""
    return str(_renderer("emphasis", "link", "image").renderInline(text))


def _renderer(*without: str) -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Markup in the text is text.
    found = MarkdownIt("commonmark", {"html": False}).enable("table").disable(list(without))
    for name, rule in {"table_open": _table, "table_close": _table_end, "fence": _code, "code_block": _code}.items():
        found.add_render_rule(name, rule)
    return found


def _table(renderer: RendererProtocol, tokens: Sequence[Token], place: int, *given: Any) -> str:
    number = sum(token.type == "table_open" for token in tokens[: place + 1])
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table {number}">\n<table>\n'


def _table_end(renderer: RendererProtocol, *given: Any) -> str:
    return "</table>\n</div>\n"


def _code(renderer: RendererProtocol, tokens: Sequence[Token], place: int, *given: Any) -> str:
    return f'<pre tabindex="0"><code>{html.escape(tokens[place].content)}</code></pre>\n'


def _take_title(tokens: list[Token]) -> str:
    """Remove the first heading where it is one of the first level, and return its text."""
    place = next((place for place, token in enumerate(tokens) if token.type == "heading_open"), None)
    if place is None or tokens[place].tag != "h1":
        return ""
    inline = tokens[place + 1]
    del tokens[place : place + 3]
    return "".join(child.content for child in inline.children or ())


def _slug(text: str, seen: dict[str, int]) -> str:
    """Return the name of a heading in addresses, as GitHub gives it."""
    slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
    number = seen[slug] = seen.get(slug, -1) + 1
    return f"{slug}-{number}" if number else slug


def _with_addresses(
    tokens: Sequence[Token], link: Callable[[str], str | None], image: Callable[[str], str | None]
) -> list[Token]:
    """Return the parts of a paragraph with the addresses of the site."""
    found: list[Token] = []
    is_kept = True
    for token in tokens:
        if token.type == "link_open":
            address = _address(str(token.attrs.get("href", "")), link)
            is_kept = address is not None
            token.attrs["href"] = address or ""
        if token.type == "image":
            source = str(token.attrs.get("src", ""))
            address = source if _PICTURE.match(source) else None if _OUTSIDE.match(source) else image(source)
            if address is None:
                token = token.copy(type="text", tag="", content=token.content, children=None)
            else:
                token.attrs["src"] = address
        # Links do not hold others.
        if is_kept or token.type not in ("link_open", "link_close"):
            found.append(token)
    return found


def _address(given: str, link: Callable[[str], str | None]) -> str | None:
    if _OUTSIDE.match(given):
        return given
    path, mark, place = given.partition("#")
    address = link(path) if path else ""
    if address is None:
        return None
    # Headings of the site have a prefix, those of pages elsewhere do not.
    return f"{address}{mark}{'' if _OUTSIDE.match(address) else PREFIX}{place}" if place else address
