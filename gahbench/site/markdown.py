"""Markdown rendered as HTML, with markup escaped, and with links to the pages and files of a site."""

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

#: Suffixes of files that are copied into a site if a link leads to them.
_COPIED_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".webp",
    ".csv",
    ".json",
    ".parquet",
    ".txt",
    ".yaml",
    ".bib",
    ".pdf",
)
_IMAGE_SUFFIXES = _COPIED_SUFFIXES[:5]
#: The largest file that is copied, in bytes.
MAX_BYTES = 20_000_000
#: The largest total size of the SVG files of a page, in bytes.
MAX_SVG_BYTES = 2_000_000
#: The prefix of the ids of headings, which keeps them apart from the other ids of a page.
HEADING_PREFIX = "s-"
_EXTERNAL_URL = re.compile("(?:https?|mailto):", re.IGNORECASE)
_IMAGE_DATA_URL = re.compile("data:image/(?:png|gif|jpeg|webp);", re.IGNORECASE)


class DocumentationUrl(str):
    """The URL of a page of documentation, whose headings have no prefix."""


@dataclass(frozen=True)
class RenderedMarkdown:
    """Markdown as HTML, without the title, which is plain text."""

    title: str
    markup: str


def render_markdown(
    text: str, link: Callable[[str], str | None], image: Callable[[str], str | None]
) -> RenderedMarkdown:
    """Render Markdown; ``link`` and ``image`` resolve targets to URLs, or to ``None`` if they are invalid."""
    renderer = _renderer()
    tokens = renderer.parse(text)
    title = _take_title(tokens)
    seen: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrs["id"] = HEADING_PREFIX + _slug(tokens[index + 1].content, seen)
        if token.type in ("th_open", "td_open"):
            # The content security policy of pages forbids style attributes.
            token.attrs = {} if "right" in str(token.attrs.get("style")) else {"class": "left"}
        token.children = token.children and _resolve_links(token.children, link, image)
    return RenderedMarkdown(title, renderer.renderer.render(tokens, renderer.options, {}))


def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # HTML in the text is shown as text.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    for name, rule in {
        "table_open": _table_start,
        "table_close": _table_end,
        "fence": _code,
        "code_block": _code,
    }.items():
        renderer.add_render_rule(name, rule)
    return renderer


def _table_start(renderer: RendererProtocol, tokens: Sequence[Token], index: int, *arguments: Any) -> str:
    number = sum(token.type == "table_open" for token in tokens[: index + 1])
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table {number}">\n<table>\n'


def _table_end(renderer: RendererProtocol, *arguments: Any) -> str:
    return "</table>\n</div>\n"


def _code(renderer: RendererProtocol, tokens: Sequence[Token], index: int, *arguments: Any) -> str:
    return f'<pre tabindex="0"><code>{html.escape(tokens[index].content)}</code></pre>\n'


def _take_title(tokens: list[Token]) -> str:
    """Remove the first heading if it has level 1, and return its text."""
    index = next((index for index, token in enumerate(tokens) if token.type == "heading_open"), None)
    if index is None or tokens[index].tag != "h1":
        return ""
    inline = tokens[index + 1]
    del tokens[index : index + 3]
    return "".join(child.content for child in inline.children or ())


def _slug(text: str, seen: dict[str, int]) -> str:
    """Return the anchor of a heading, as GitHub builds it."""
    slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
    number = seen[slug] = seen.get(slug, -1) + 1
    return f"{slug}-{number}" if number else slug


def _resolve_links(
    tokens: Sequence[Token], link: Callable[[str], str | None], image: Callable[[str], str | None]
) -> list[Token]:
    """Return the tokens of a paragraph with resolved links and images; invalid links and images become text."""
    resolved: list[Token] = []
    keeps_link = True
    for token in tokens:
        if token.type == "link_open":
            url = _resolve_link(str(token.attrs.get("href", "")), link)
            keeps_link = url is not None
            token.attrs["href"] = url or ""
        if token.type == "image":
            source = str(token.attrs.get("src", ""))
            url = source if _IMAGE_DATA_URL.match(source) else None if _EXTERNAL_URL.match(source) else image(source)
            if url is None:
                token = token.copy(type="text", tag="", content=token.content, children=None)
            else:
                token.attrs["src"] = url
        # Links cannot be nested, so the next closing token belongs to this link.
        if keeps_link or token.type not in ("link_open", "link_close"):
            resolved.append(token)
    return resolved


def _resolve_link(href: str, link: Callable[[str], str | None]) -> str | None:
    if _EXTERNAL_URL.match(href):
        return href
    path, hash_sign, fragment = href.partition("#")
    url = link(path) if path else ""
    if url is None:
        return None
    # Only the headings of the site have the prefix.
    prefix = "" if _EXTERNAL_URL.match(url) or isinstance(url, DocumentationUrl) else HEADING_PREFIX
    return f"{url}{hash_sign}{prefix}{fragment}" if fragment else url


@dataclass(eq=False)
class Links:
    """The URLs of the pages and the copied files of a site, by path in its folder."""

    folder: Path
    pages: dict[str, str]
    source_url: str = ""
    documentation: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def resolvers(self, path: str, root: str) -> tuple[Callable[[str], str | None], Callable[[str], str | None]]:
        """Return the functions that resolve the links and the images of a Markdown file."""
        svg_bytes_left = MAX_SVG_BYTES

        def link(href: str) -> str | None:
            target = _path_in_folder(path, href)
            if local_url := (target and self.pages.get(target)) or self._copy(target, _COPIED_SUFFIXES):
                return root + local_url
            if target and self.documentation and target.startswith("../") and target.endswith(".md"):
                page = quote(target.removeprefix("../").removesuffix(".md"))
                return DocumentationUrl(f"{root}{self.documentation}{page}.html")
            return urljoin(self.source_url, quote(target)) if target and self.source_url else None

        def image(href: str) -> str | None:
            nonlocal svg_bytes_left
            target = _path_in_folder(path, href)
            if target is None or not target.lower().endswith(".svg"):
                copy = self._copy(target, _IMAGE_SUFFIXES)
                return copy and root + copy
            # A copied SVG file could be opened on its own and run scripts; browsers run none in a ``data:`` image.
            if (content := self._read(target, svg_bytes_left)) is None:
                return None
            svg_bytes_left -= len(content)
            return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"

        return link, image

    def _copy(self, target: str | None, suffixes: tuple[str, ...]) -> str | None:
        """Return the URL of the copy of a file in the folder; ``None`` if the file is absent or may not be copied."""
        if target is None or not target.lower().endswith(suffixes):
            return None
        stem, suffix = posixpath.splitext(target)
        digest = hashlib.sha256(target.encode()).hexdigest()[:16]
        url = f"files/{re.sub('[^A-Za-z0-9]+', '-', stem)[-60:].strip('-')}-{digest}{suffix.lower()}"
        if url not in self.files:
            content = self._read(target, MAX_BYTES)
            # Browsers guess unknown types of files, and could open markup as a page.
            if content is None or content.lstrip().startswith(b"<"):
                return None
            self.files[url] = content
        return url

    def _read(self, target: str, max_bytes: int) -> bytes | None:
        """Return the content of a file in the folder; ``None`` if the file is outside, absent or too large."""
        try:
            file = (self.folder / target).resolve()
            # A symbolic link may lead out of the folder, like ``..``.
            return read_regular(file, max_bytes) if file.is_relative_to(self.folder.resolve()) else None
        except (OSError, ValueError, RuntimeError):
            return None


def _path_in_folder(page: str, href: str) -> str | None:
    """Return the path in the folder of the target of a link; ``None`` if the link is not relative."""
    path = unquote(href)
    if not path or path.startswith("/") or "\\" in path or "\0" in path or "://" in path:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
