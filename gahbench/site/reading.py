"""Markdown files as HTML, in which markup is escaped, with links to the pages and files of a site."""

from __future__ import annotations

import base64
import hashlib
import html
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin

from gahbench._util.files import read_regular

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererProtocol
    from markdown_it.token import Token

#: Files that are copied into a site if links lead to them.
_KEPT = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".csv", ".json", ".parquet", ".txt", ".yaml", ".bib", ".pdf")
_PICTURES = _KEPT[:5]
#: The most bytes of such a file.
MAX_BYTES = 20_000_000
#: The most bytes of all SVG files of a page.
MAX_SVG_BYTES = 2_000_000
#: Prefix of the identifiers of headings, which must differ from the other identifiers of pages.
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
            # The policy admits no style attribute.
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

    # Markup in the text is shown as text.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table").disable(list(without))
    for name, rule in {"table_open": _table, "table_close": _table_end, "fence": _code, "code_block": _code}.items():
        renderer.add_render_rule(name, rule)
    return renderer


def _table(renderer: RendererProtocol, tokens: Sequence[Token], place: int, *given: Any) -> str:
    number = sum(token.type == "table_open" for token in tokens[: place + 1])
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table {number}">\n<table>\n'


def _table_end(renderer: RendererProtocol, *given: Any) -> str:
    return "</table>\n</div>\n"


def _code(renderer: RendererProtocol, tokens: Sequence[Token], place: int, *given: Any) -> str:
    return f'<pre tabindex="0"><code>{html.escape(tokens[place].content)}</code></pre>\n'


def _take_title(tokens: list[Token]) -> str:
    """Remove the first heading if it is of the first level, and return its text."""
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
        # Links cannot be nested, so that the next closing token belongs to this link.
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
    # Only headings of the site have a prefix.
    return f"{address}{mark}{'' if _OUTSIDE.match(address) else PREFIX}{place}" if place else address


@dataclass(eq=False)
class Links:
    """Addresses in a site of the files of its folder."""

    folder: Path
    pages: dict[str, str]
    source_url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def of(self, path: str, root: str) -> tuple[Callable[[str], str | None], Callable[[str], str | None]]:
        """Return the functions that resolve the links and the images of a Markdown file."""
        left = MAX_SVG_BYTES

        def link(given: str) -> str | None:
            target = _path(path, given)
            if found := (target and self.pages.get(target)) or self._copy(target, _KEPT):
                return root + found
            return urljoin(self.source_url, quote(target)) if target and self.source_url else None

        def image(given: str) -> str | None:
            nonlocal left
            target = _path(path, given)
            if target is None or not target.lower().endswith(".svg"):
                copy = self._copy(target, _PICTURES)
                return copy and root + copy
            # A copy that is opened by itself would run its scripts; browsers run no script in the data of an image.
            if (content := self._read(target, left)) is None:
                return None
            left -= len(content)
            return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"

        return link, image

    def _copy(self, target: str | None, kept: tuple[str, ...]) -> str | None:
        """Return the address of a copy of a file in the folder; ``None`` if it is absent or not to be copied."""
        if target is None or not target.lower().endswith(kept):
            return None
        stem, suffix = posixpath.splitext(target)
        digest = hashlib.sha256(target.encode()).hexdigest()[:16]
        address = f"files/{re.sub('[^A-Za-z0-9]+', '-', stem)[-60:].strip('-')}-{digest}{suffix.lower()}"
        if address not in self.files:
            content = self._read(target, MAX_BYTES)
            # Browsers guess the type of a file if the server does not know it: markup could be taken for a page.
            if content is None or content.lstrip().startswith(b"<"):
                return None
            self.files[address] = content
        return address

    def _read(self, target: str, max_bytes: int) -> bytes | None:
        """Return the content of a file in the folder; ``None`` for a file that is outside, absent or too large."""
        try:
            file = (self.folder / target).resolve()
            # A symbolic link may lead out of the folder, as ``..`` does.
            return read_regular(file, max_bytes) if file.is_relative_to(self.folder.resolve()) else None
        except (OSError, ValueError, RuntimeError):
            return None


def _path(page: str, given: str) -> str | None:
    """Return the path in the folder that a link of a file leads to; ``None`` if the link is not relative."""
    path = unquote(given)
    if not path or path.startswith("/") or "\\" in path or "\0" in path or "://" in path:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
