"""The pages of a site, and their files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from xml.sax.saxutils import escape

from gahbench._util.checks import is_inside
from gahbench._util.errors import ParameterError
from gahbench._util.files import delete_file, names_in, read_regular, write_output
from gahbench.registry.registry import Registry
from gahbench.report.page import colours, rendering
from gahbench.report.site.catalogue import catalogue
from gahbench.report.site.described import Measures
from gahbench.report.site.pages import Page, Pages

#: Names the files of a site, so that another one into the same folder leaves none of them behind.
FILES = "site.json"
STYLE, SCRIPT = "assets/style.css", "assets/script.js"


@dataclass(frozen=True)
class SiteRequest:
    """What a site is made of, and where it will stand."""

    folder: Path
    out: Path
    title: str = "gahbench"
    base_url: str = ""
    source_url: str = ""


def write_site(request: SiteRequest, registry: Registry, measures: Measures) -> list[str]:
    """Write the site of a folder, and return the names of its files; equal folders give equal sites."""
    base, source = _address(request.base_url, "--base-url"), _address(request.source_url, "--source-url")
    before = _files_of(request.out)
    found = catalogue(request.folder, registry)
    pages = Pages(request.folder, found, registry, measures, request.title, source)
    made = list(pages.all())
    files = {page.path: _rendered(page).encode() for page in made} | pages.files
    used = set[str]().union(*(colours.found_in(page.body) for page in made))
    files[STYLE] = rendering.stylesheet(used, max(page.groups for page in made), "site.css").encode()
    files[SCRIPT] = rendering.script_text().encode()
    if base:
        files["sitemap.xml"] = _sitemap(base, [page.path for page in made]).encode()
    files[FILES] = (json.dumps({"format": "gahbench-site", "files": sorted(files)}, indent=1) + "\n").encode()
    for name, content in files.items():
        write_output(content, request.out / name)
    for name in before:
        if name not in files:
            delete_file(request.out, name)
    return sorted(files)


def _rendered(page: Page) -> str:
    from markupsafe import Markup

    style = Markup('<link rel="stylesheet" href="{}{}">').format(page.root, STYLE)
    script = Markup('<script src="{}{}"></script>').format(page.root, SCRIPT)
    shared = rendering.SHARED
    return rendering.page(page.title, page.body, style, script, (shared, shared), f"{shared} data:")


def _address(given: str, option: str) -> str:
    """Return an address of a folder, with a slash at its end; empty where none is given."""
    if not given:
        return ""
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ParameterError(
            f"{option} {given}: accepted: the address of a folder, such as https://example.org/boards/"
        )
    return given if given.endswith("/") else f"{given}/"


def _sitemap(base: str, paths: list[str]) -> str:
    places = "".join(f"<url><loc>{escape(urljoin(base, quote(path)))}</loc></url>\n" for path in paths)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{places}</urlset>\n"


def _files_of(out: Path) -> list[str]:
    """Return the files of the site that is in a folder; none of one that is empty or new."""
    if not names_in(out):
        return []
    try:
        found: Any = json.loads(read_regular(out / FILES))
    except (OSError, ValueError):
        found = None
    files = found.get("files") if isinstance(found, dict) and found.get("format") == "gahbench-site" else None
    if not isinstance(files, list) or not all(map(is_inside, files)):
        raise ParameterError(f"{out}: holds other things than a site; give a new or an empty folder")
    return files
