"""Where links of Markdown files lead in a site, and the files that it has copies of."""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urljoin

from gahbench._util.files import read_regular
from gahbench.board.results import BOARD
from gahbench.report.site.catalogue import Run

#: Files that a site has copies of where links lead to them.
_KEPT = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".csv", ".json", ".parquet", ".txt", ".yaml", ".bib", ".pdf")
_PICTURES = _KEPT[:5]
#: Bytes of such a file.
MAX_BYTES = 20_000_000
#: Bytes of all SVG files of a page.
MAX_SVG_BYTES = 2_000_000


@dataclass(eq=False)
class Links:
    """Addresses in a site of what is in its folder."""

    folder: Path
    pages: dict[str, str]
    source_url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def of(self, path: str, root: str) -> tuple[Callable[[str], str | None], Callable[[str], str | None]]:
        """Return what gives the addresses of links and of images in a Markdown file."""
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
            # A copy that is opened by itself would run its scripts; browsers run none in the data of an image.
            if (content := self._read(target, left)) is None:
                return None
            left -= len(content)
            return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"

        return link, image

    def _copy(self, target: str | None, kept: tuple[str, ...]) -> str | None:
        """Return the address of a copy of a file in the folder; ``None`` of what is not there, or no such file."""
        if target is None or not target.lower().endswith(kept):
            return None
        stem, suffix = posixpath.splitext(target)
        digest = hashlib.sha256(target.encode()).hexdigest()[:16]
        address = f"files/{re.sub('[^A-Za-z0-9]+', '-', stem)[-60:].strip('-')}-{digest}{suffix.lower()}"
        if address not in self.files:
            content = self._read(target, MAX_BYTES)
            # Servers that do not know its type have browsers guess it: markup could be taken for a page.
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


def run_pages(run: Run, page: str, reading: str | None) -> dict[str, str]:
    """Return the pages of a run by the paths that they stand for."""
    pages = {run.path: page, posixpath.normpath(f"{run.path}/{BOARD}"): page}
    return pages | ({run.text: reading} if reading else {})


def _path(page: str, given: str) -> str | None:
    """Return the path in the folder that a relative link of a file leads to; ``None`` where it is none."""
    path = unquote(given)
    if not path or path.startswith("/") or "\\" in path or "\0" in path or "://" in path:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
