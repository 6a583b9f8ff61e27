"""A site of results folders: an index, and a page for each run, entrant, dataset and README.md."""

from __future__ import annotations

import json
import posixpath
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from xml.sax.saxutils import escape

from markupsafe import Markup

import gahbench
from gahbench._util.checks import is_inside
from gahbench._util.errors import ParameterError
from gahbench._util.files import delete_file, names_in, read_regular, write_output
from gahbench._util.readable import counted
from gahbench.board.claim_values import Table
from gahbench.board.results import BOARD
from gahbench.contracts.citation import Citation, bibliography
from gahbench.explore.description import facts as measured_facts
from gahbench.planning.suite_files import suite_files, suite_summary
from gahbench.registry.registry import Registry
from gahbench.report.cells import LENGTH, count
from gahbench.report.claims import CLAIMS, GENERATED, JudgedClaim, judge_claims, summary
from gahbench.report.page.report import SHARED, dataset_table, page, part, report_values, stylesheet, template_text
from gahbench.report.page.svg import colours_in
from gahbench.site.catalogue import (
    PAGE,
    Catalogue,
    Place,
    Run,
    boards_of,
    boards_table,
    catalogue,
    entrants_table,
    kind_of,
    largest,
    shape_of,
    shape_text,
    standings,
)
from gahbench.site.described import Described, described, samples, works_of
from gahbench.site.reading import Links, Reading, inline, paragraphs, reading

#: Lists the files of a site, so that a new site in the same folder replaces all of them.
FILES = "site.json"
STYLE, SCRIPT = "assets/style.css", "assets/script.js"
#: The most bytes of a Markdown file: the time for forged Markdown grows with their square, to half a minute.
MAX_BYTES = 200_000


def write_site(
    folder: Path, out: Path, registry: Registry, *, title: str = "gahbench", base_url: str = "", source_url: str = ""
) -> list[str]:
    """Write a site of all results folders in a folder, and return the names of its files; equal folders, equal sites.

    ``base_url`` is the address of the site, for a sitemap; ``source_url`` that of the folder elsewhere.
    """
    base, source = _address(base_url, "--base-url"), _address(source_url, "--source-url")
    before = _files_of(out)
    pages = Pages(folder, catalogue(folder, registry), registry, title, source)
    every = list(pages.all())
    files = {one.path: _rendered(one).encode() for one in every} | pages.links.files
    colours = {colour for one in every for colour in colours_in(one.body)}
    own_style = template_text("site.css", "gahbench.site")
    files[STYLE] = stylesheet(colours, max(one.groups for one in every), own_style).encode()
    files[SCRIPT] = template_text("script.js").encode()
    if base:
        files["sitemap.xml"] = _sitemap(base, [one.path for one in every]).encode()
    files[FILES] = (json.dumps({"format": "gahbench-site", "files": sorted(files)}, indent=1) + "\n").encode()
    for name, content in files.items():
        write_output(content, out / name)
    for name in before:
        if name not in files:
            delete_file(out, name)
    return sorted(files)


@dataclass(frozen=True)
class Page:
    """A page: its path in the site, its title, its markup, and the most groups of columns of its tables."""

    path: str
    title: str
    body: str
    groups: int = 1


@dataclass(eq=False)
class Pages:
    """The pages of a site."""

    folder: Path
    found: Catalogue
    registry: Registry
    title: str
    source_url: str = ""

    @cached_property
    def texts(self) -> dict[str, str]:
        """The Markdown of the README.md files, by path in the folder."""
        paths = dict.fromkeys([PAGE, *(run.text for run in self.found.runs)])
        return {path: text for path in paths if (text := self._text(path)) is not None}

    def _text(self, path: str) -> str | None:
        """Return a Markdown file of the folder; ``None`` if it does not exist."""
        try:
            # Symbolic links are not followed: they may lead out of the folder.
            return read_regular(self.folder / path, MAX_BYTES, follow=False).decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            warnings.warn(f"left out: {self.folder / path}: {error.strerror}", stacklevel=2)
            return None

    @cached_property
    def reading_pages(self) -> dict[str, str]:
        """The addresses of the README.md files in the site, by path in the folder."""
        pages = self.found.pages["runs"]
        addresses = {run.text: pages[run.name].replace("runs/", "reading/", 1) for run in self.found.runs}
        return {path: addresses.get(path, "reading.html") for path in self.texts}

    @cached_property
    def claims(self) -> list[JudgedClaim]:
        """The verdicts of all runs on claims; empty if no run measures any claim."""
        tables = [Table(run.name, run.results) for run in self.found.runs]
        found = judge_claims(self.registry, tables)
        return found if any(one.run for one in found) else []

    @cached_property
    def links(self) -> Links:
        """The addresses that links of README.md files lead to."""
        pages = {PAGE: self.reading_pages.get(PAGE, "index.html")}
        for run in self.found.runs:
            page = self.found.pages["runs"][run.name]
            pages |= {run.path: page, posixpath.normpath(f"{run.path}/{BOARD}"): page}
            if run.text in self.reading_pages:
                pages[run.text] = self.reading_pages[run.text]
        pages["."] = "index.html"
        if self.claims:
            pages[CLAIMS] = "claims.html"
        return Links(self.folder, pages, self.source_url)

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """The README.md files as HTML, by path in the folder."""
        roots = {path: "../" * page.count("/") for path, page in self.reading_pages.items()}
        return {path: reading(text, *self.links.of(path, roots[path])) for path, text in self.texts.items()}

    def all(self) -> Iterator[Page]:
        """Yield all pages."""
        yield self._index()
        if self.claims:
            yield self._claims()
        yield from map(self._reading, self.readings)
        yield from map(self._run, self.found.runs)
        yield from map(self._entrant, self.found.entrants)
        yield from map(self._dataset, self.found.datasets)

    def _page(self, template: str, path: str, heading: str, values: dict[str, Any], groups: int = 1) -> Page:
        root = "../" * path.count("/")
        shown: dict[str, Any] = {
            "heading": heading,
            "site": {
                "root": root,
                "title": self.title,
                "has_reading": bool(self.texts),
                "has_claims": bool(self.claims),
            },
            "pages": self.found.pages_from(root),
            "sections": {},
            "keys": {},
            "places": {},
            "kinds": [],
            "length": LENGTH,
        }
        body = part(template, shown | values, "gahbench.site")
        title = self.title if heading == self.title else f"{heading} – {self.title}"
        return Page(path, title, body, groups)

    def _index(self) -> Page:
        columns, kinds = entrants_table(self.found)
        found = self.found
        sizes = {"run": found.runs, "entrant": found.entrants, "dataset": found.datasets}
        return self._page(
            "site/index.html",
            "index.html",
            self.title,
            {
                "size": ", ".join(counted(len(of), noun) for noun, of in sizes.items()),
                "version": gahbench.__version__,
                "runs": [self._card(run) for run in found.runs],
                "boards": boards_table(found),
                "entrants": columns,
                "entrant_kinds": kinds,
                "kinds": sorted(set(kinds)),
                "readings": [(self.reading_pages[path], self._title(path)) for path in self.readings],
            },
        )

    def _claims(self) -> Page:
        text = (self._text(CLAIMS) or "").partition(GENERATED)[0]
        found = reading(text, *self.links.of(CLAIMS, ""))
        values = {
            "judged": self.claims,
            "outcomes": summary([one.outcome for one in self.claims]),
            "markup": Markup(found.markup),
        }
        return self._page("site/claims.html", "claims.html", found.title or "Claims", values)

    def _title(self, path: str) -> str:
        return self.readings[path].title or path

    def _card(self, run: Run) -> dict[str, Any]:
        """Return the summary of a run on the index."""
        path, machine = run.text, run.environment
        shipped = suite_files().get(run.results.suite)
        about = self.readings[path].title if path in self.readings else suite_summary(shipped) if shipped else ""
        gpus = [str(gpu) for gpu in machine.get("gpus", [])]
        return {
            "name": run.name,
            "about": about,
            "reading": self.reading_pages.get(path, ""),
            "entrants": counted(len(run.entrants), "entrant"),
            "datasets": counted(len(run.results.board.datasets), "dataset"),
            "scores": f"{len(run.results.scores):,}".replace(",", " "),
            "date": str(machine.get("date", "")),
            "machine": ", ".join([*gpus, *([str(machine["processor"])] if machine.get("processor") else [])]),
            "processors": machine.get("processors"),
        }

    def _run(self, run: Run) -> Page:
        path, text = self.found.pages["runs"][run.name], self.reading_pages.get(run.text)
        values = report_values(run.source)
        heading = values["heading"] if values["heading"] == run.name else f"{run.name}: {values['heading']}"
        about = (f"../{text}", self._title(run.text)) if text else None
        return self._page("body.html", path, heading, {**values, "heading": heading, "about": about}, values["groups"])

    def _reading(self, path: str) -> Page:
        found = self.readings[path]
        run = next((run for run in self.found.runs if run.text == path), None)
        values = {"markup": Markup(found.markup), "run": run and run.name}
        return self._page("site/reading.html", self.reading_pages[path], self._title(path), values)

    def _entrant(self, label: str) -> Page:
        places = self.found.entrants[label]
        runs = [run for run in self.found.runs if label in run.entrants]
        plugin = described(runs, "entrant", label, self.registry)
        values = {
            "kind": kind_of(places),
            "boards": counted(boards_of(places), "board"),
            "parameters": count(largest(places)),
            "networks": self._networks(plugin, places),
            "standings": standings(places, self.found.pages_from("../")),
            "baselines": list(dict.fromkeys(run.results.baseline for run in runs if run.results.baseline)),
            **self._about(plugin, runs, label),
        }
        return self._page("site/entrant.html", self.found.pages["entrants"][label], label, values)

    def _networks(self, plugin: Described, places: Sequence[Place]) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return the measured facts of the architectures of an entrant, for the first images that it is scored on."""
        shape = next((shape_of(place.run, place.board.dataset) for place in places), None)
        found = []
        for network in plugin.networks:
            facts = [(fact.name, fact.value) for fact in measured_facts(network, self.registry, shape)]
            # Unknown facts may be unknown only on this machine.
            kept = [(name, value) for name, value in facts if name != "citation" and not value.startswith("unknown")]
            found.append(("" if network is plugin.configured else network.label, kept))
        return found

    def _dataset(self, label: str) -> Page:
        boards = self.found.datasets[label]
        runs = [run for run, _ in boards]
        plugin = described(runs, "dataset", label, self.registry)
        rows = [(run, board, dataset_table(board)) for run, board in boards]
        labels = dict.fromkeys(label for _, _, table in rows for label in table.entrants)
        numbers = {run.name: list(run.results.board.datasets).index(board) for run, board in boards}
        values = {
            "places": {name: place for place, name in enumerate(labels)},
            "kinds": sorted({kind for _, _, table in rows for kind in table.kinds if kind}),
            "shape": shape_text(shape_of(runs[0], label)),
            "boards": [(run.name, f"d{numbers[run.name]}-curves", table) for run, _, table in rows],
            "samples": samples(plugin),
            **self._about(plugin, runs, label),
        }
        groups = max(len(table.groups) for _, _, table in rows)
        return self._page("site/dataset.html", self.found.pages["datasets"][label], label, values, groups)

    def _about(self, plugin: Described, runs: Sequence[Run], label: str) -> dict[str, Any]:
        if plugin.withheld:
            warnings.warn(f"not built: {plugin.withheld}", stacklevel=2)
        works: list[Citation] = list(works_of(runs, label, plugin))
        return {
            "withheld": plugin.withheld,
            "plugin": plugin.plugin,
            "text": Markup(paragraphs(plugin.text.text)),
            "rows": [(name, value, Markup(inline(meaning))) for name, value, meaning in plugin.rows],
            "works": [str(work) for work in works],
            "bibtex": bibliography(works),
        }


def _rendered(one: Page) -> str:
    root = "../" * one.path.count("/")
    style = Markup('<link rel="stylesheet" href="{}{}">').format(root, STYLE)
    script = Markup('<script src="{}{}"></script>').format(root, SCRIPT)
    return page(one.title, one.body, style, script, (SHARED, SHARED), f"{SHARED} data:")


def _address(given: str, option: str) -> str:
    """Return the address of a folder, with a slash at its end, or an empty address."""
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
    """Return the files of the site in a folder; empty for an empty or new folder."""
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
