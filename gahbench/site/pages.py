"""A site of results folders: an index, and a page for each run and README.md."""

from __future__ import annotations

import json
import posixpath
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from xml.sax.saxutils import escape

from markupsafe import Markup

from gahbench._util.errors import ParameterError
from gahbench._util.files import delete_file, names_in, read_regular, write_output
from gahbench._util.readable import pluralize
from gahbench._util.records import is_inside
from gahbench.board.claim_values import Table
from gahbench.board.results import BOARD
from gahbench.registry.registry import Registry
from gahbench.report.cells import LENGTH
from gahbench.report.claims import CLAIMS, GENERATED, JudgedClaim, judge_claims, summary
from gahbench.report.page.report import (
    SAME_ORIGIN,
    render_page,
    render_template,
    report_values,
    stylesheet,
    template_text,
)
from gahbench.report.page.svg import colours_in
from gahbench.site import index
from gahbench.site.catalogue import README, Catalogue, board_address, boards_by_dataset, entrants_table, load_catalogue
from gahbench.site.markdown import Links, RenderedMarkdown, render_markdown
from gahbench.site.processes import map_in_processes

#: The list of the files of a site, which lets a new site in the same folder replace all of them.
FILES = "site.json"
STYLE, SCRIPT = "assets/style.css", "assets/script.js"
#: The list of pages that the search of the documentation reads; a script, since pages of files may not read JSON.
ENTRIES = "assets/entries.js"
#: The cached properties of results that take most of the time of a site.
DERIVED = ("left_out", "optimum_checks", "deficit_curves", "rate_verdicts", "board", "means_over_datasets")
#: The largest Markdown file, in bytes: the time to render forged Markdown grows with the square of its size.
MAX_BYTES = 200_000


def write_site(
    folder: Path,
    out: Path,
    registry: Registry,
    *,
    title: str = "gahbench",
    base_url: str = "",
    source_url: str = "",
    documentation: str = "",
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> list[str]:
    """Write a site of all results folders in a folder, and return the names of its files.

    Equal folders give equal sites. ``base_url`` is the URL of the site, for a sitemap; ``source_url`` is the URL of the
    published folder, for links to files that are not part of the site. ``documentation`` is the folder within the site
    of the documentation that Sphinx builds from the parent of ``folder``; pages link to it. ``progress`` is called with
    the path of each page and the finished share of pages.
    """
    if documentation and not is_inside(documentation):
        raise ParameterError(f"--documentation {documentation}: expected a folder within the site, such as docs")
    base, source = _folder_url(base_url, "--base-url"), _folder_url(source_url, "--source-url")
    previous_files = _site_files(out)
    documentation = documentation and f"{documentation.strip('/')}/"
    progress("reading results", 0.0)
    pages = Pages(folder, load_catalogue(folder, registry), registry, title, source, documentation)
    pages.compute_boards(lambda text: progress(text, 0.0))
    progress("judging claims", 0.0)
    all_pages = []
    for page in pages.build():
        all_pages.append(page)
        progress(page.path, len(all_pages) / pages.count)
    files = {page.path: _render(page).encode() for page in all_pages} | pages.links.files
    colours = {colour for page in all_pages for colour in colours_in(page.body)}
    own_style = template_text("site.css", "gahbench.site")
    files[STYLE] = stylesheet(colours, max(page.groups for page in all_pages), own_style).encode()
    files[SCRIPT] = template_text("script.js").encode()
    files[ENTRIES] = f"const siteEntries = {json.dumps(pages.entries(), indent=0)};\n".encode()
    if base:
        files["sitemap.xml"] = _sitemap(base, [page.path for page in all_pages]).encode()
    files[FILES] = (json.dumps({"format": "gahbench-site", "files": sorted(files)}, indent=1) + "\n").encode()
    for name, content in files.items():
        write_output(content, out / name)
    for name in previous_files:
        if name not in files:
            delete_file(out, name)
    return sorted(files)


@dataclass(frozen=True)
class Page:
    """A page: its path in the site, its title, its HTML body, and the largest number of column groups of its tables."""

    path: str
    title: str
    body: str
    groups: int = 1


@dataclass(eq=False)
class Pages:
    """The pages of a site."""

    folder: Path
    catalogue: Catalogue
    registry: Registry
    title: str
    source_url: str = ""
    documentation: str = ""

    @cached_property
    def readmes(self) -> dict[str, str]:
        """The text of the README.md files, by path in the folder."""
        paths = dict.fromkeys([README, *(run.readme for run in self.catalogue.runs)])
        return {path: text for path in paths if (text := self._read_markdown(path)) is not None}

    def _read_markdown(self, path: str) -> str | None:
        """Return the text of a Markdown file; ``None`` if it does not exist or cannot be read."""
        try:
            # Symbolic links are not followed: they may lead out of the folder.
            return read_regular(self.folder / path, MAX_BYTES, follow=False).decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            warnings.warn(f"left out: {self.folder / path}: {error.strerror}", stacklevel=2)
            return None

    @cached_property
    def readme_pages(self) -> dict[str, str]:
        """The pages of the README.md files in the site, by path in the folder."""
        pages = self.catalogue.pages
        run_pages = {run.readme: pages[run.name].replace("runs/", "reading/", 1) for run in self.catalogue.runs}
        return {path: run_pages.get(path, "reading.html") for path in self.readmes}

    @cached_property
    def claims(self) -> list[JudgedClaim]:
        """The verdicts on claims by the boards of all runs; empty if no run measures a claim."""
        tables = [Table(run.name, run.results) for run in self.catalogue.runs]
        # Processes free the memory of the values that they compare.
        claims = judge_claims(self.registry, tables, map_in_processes)
        return claims if any(claim.run for claim in claims) else []

    @cached_property
    def links(self) -> Links:
        """The targets of links in README.md files."""
        pages = {README: self.readme_pages.get(README, "index.html")}
        for run in self.catalogue.runs:
            page = self.catalogue.pages[run.name]
            pages |= {run.path: page, posixpath.normpath(f"{run.path}/{BOARD}"): page}
            if run.readme in self.readme_pages:
                pages[run.readme] = self.readme_pages[run.readme]
        pages["."] = "index.html"
        if self.claims:
            pages[CLAIMS] = "claims.html"
        return Links(self.folder, pages, self.source_url, self.documentation)

    @property
    def count(self) -> int:
        """The number of pages."""
        return 1 + bool(self.claims) + len(self.rendered_readmes) + len(self.catalogue.runs)

    @cached_property
    def rendered_readmes(self) -> dict[str, RenderedMarkdown]:
        """The rendered README.md files, by path in the folder."""
        roots = {path: "../" * page.count("/") for path, page in self.readme_pages.items()}
        return {
            path: render_markdown(text, *self.links.resolvers(path, roots[path])) for path, text in self.readmes.items()
        }

    def compute_boards(self, progress: Callable[[str], None]) -> None:
        """Compute the boards of all runs in several processes, which free the memory that this takes."""
        runs = {run.name: run.results for run in self.catalogue.runs}

        def compute(name: str) -> dict[str, Any]:
            return {derived: getattr(runs[name], derived) for derived in DERIVED}

        all_values = map_in_processes(compute, list(runs))
        for number, name in enumerate(runs, start=1):
            progress(f"computing board {number} of {len(runs)}, {name}")
            values = next(all_values)
            # These are cached properties, which look here first.
            vars(runs[name]).update(values)

    def entries(self) -> list[tuple[str, str, str, str]]:
        """Return the title, address, kind and name of each board, dataset and claim."""
        pages, names = self.catalogue.pages, self.catalogue.names
        readmes = {run.name: self.rendered_readmes.get(run.readme) for run in self.catalogue.runs}
        boards = [
            (index.run_title(run, readmes[run.name]), pages[run.name], "board", run.name) for run in self.catalogue.runs
        ]
        datasets = [
            (names.dataset(label), board_address(pages, *boards_of_dataset[0]), "dataset", label)
            for label, boards_of_dataset in self.catalogue.datasets.items()
        ]
        claims = [
            (claim.statement, f"claims.html#paper-{number}", "claim", f"{claim.name}, {paper}")
            for number, (paper, of_paper, _) in enumerate(claims_by_paper(self.claims), start=1)
            for claim in of_paper
        ]
        return [*boards, *datasets, *claims]

    def build(self) -> Iterator[Page]:
        """Build and yield all pages."""
        yield self._build_index()
        if self.claims:
            yield self._build_claims()
        yield from map(self._build_readme, self.rendered_readmes)
        yield from map_in_processes(self._build_run, list(self.catalogue.pages))

    def _make_page(self, template: str, path: str, heading: str, values: dict[str, Any], groups: int = 1) -> Page:
        root = "../" * path.count("/")
        common_values: dict[str, Any] = {
            "heading": heading,
            "site": {
                "root": root,
                "title": self.title,
                "documentation": self.documentation,
                "has_claims": bool(self.claims),
            },
            "pages": {name: root + page for name, page in self.catalogue.pages.items()},
            "names": self.catalogue.names,
            "keys": {},
            "indices": {},
            "kinds": [],
            "length": LENGTH,
        }
        body = render_template(template, common_values | values, "gahbench.site")
        title = self.title if path == "index.html" else f"{heading} – {self.title}"
        return Page(path, title, body, groups)

    def _build_index(self) -> Page:
        columns, kinds = entrants_table(self.catalogue)
        runs = index.editorial_order(self.catalogue.runs, self.readmes.get(README, ""))
        readmes = {run.name: self.rendered_readmes.get(run.readme) for run in runs}
        titles = {run.name: index.run_title(run, readmes[run.name]) for run in runs}
        return self._make_page(
            "site/index.html",
            "index.html",
            index.QUESTION,
            {
                "size": pluralize(len(runs), "open run"),
                "main": index.main_board(runs, titles, self.catalogue.pages),
                "cards": [index.make_card(run, readmes[run.name], self.links) for run in runs],
                "datasets": boards_by_dataset(self.catalogue),
                "count_of_entrants": pluralize(len(self.catalogue.entrants), "entrant"),
                "entrants": columns,
                "entrant_kinds": kinds,
                "kinds": sorted(set(kinds)),
                "readings": [(self.readme_pages[path], self._readme_title(path)) for path in self.rendered_readmes],
            },
        )

    def _build_claims(self) -> Page:
        text = (self._read_markdown(CLAIMS) or "").partition(GENERATED)[0]
        page = render_markdown(text, *self.links.resolvers(CLAIMS, ""))
        values = {
            "papers": claims_by_paper(self.claims),
            "outcomes": summary([(claim.outcome, claim.checked) for claim in self.claims]),
            "markup": Markup(page.markup),
        }
        return self._make_page("site/claims.html", "claims.html", page.title or "Claims", values)

    def _readme_title(self, path: str) -> str:
        return self.rendered_readmes[path].title or path

    def _build_run(self, name: str) -> Page:
        run = next(run for run in self.catalogue.runs if run.name == name)
        path, text = self.catalogue.pages[name], self.readme_pages.get(run.readme)
        values = report_values(run.source)
        heading = values["heading"] if values["heading"] == name else f"{name}: {values['heading']}"
        about = (f"../{text}", self._readme_title(run.readme)) if text else None
        return self._make_page(
            "body.html", path, heading, {**values, "heading": heading, "about": about}, values["groups"]
        )

    def _build_readme(self, path: str) -> Page:
        page = self.rendered_readmes[path]
        run = next((run for run in self.catalogue.runs if run.readme == path), None)
        values = {"markup": Markup(page.markup), "run": run and run.name}
        return self._make_page("site/reading.html", self.readme_pages[path], self._readme_title(path), values)


def claims_by_paper(claims: Sequence[JudgedClaim]) -> list[tuple[str, list[JudgedClaim], str]]:
    """Return each publication with its claims and a summary of them, those with most verdicts first.

    Verified claims come before unverified ones, and measured claims before those that are not measured.
    """
    papers: dict[str, list[JudgedClaim]] = {}
    for claim in sorted(claims, key=lambda claim: (claim.checked == "unverified", not claim.run)):
        papers.setdefault(claim.paper, []).append(claim)
    verdicts = {
        paper: sum(claim.checked != "unverified" and bool(claim.run) for claim in of_paper)
        for paper, of_paper in papers.items()
    }
    return [
        (paper, papers[paper], summary([(claim.outcome, claim.checked) for claim in papers[paper]]))
        for paper in sorted(papers, key=lambda paper: (-verdicts[paper], paper))
    ]


def _render(page: Page) -> str:
    root = "../" * page.path.count("/")
    style = Markup('<link rel="stylesheet" href="{}{}">').format(root, STYLE)
    script = Markup('<script src="{}{}"></script>').format(root, SCRIPT)
    return render_page(page.title, page.body, style, script, (SAME_ORIGIN, SAME_ORIGIN), f"{SAME_ORIGIN} data:")


def _folder_url(url: str, option: str) -> str:
    """Return the URL of a folder with a trailing slash; an empty URL stays empty."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ParameterError(f"{option} {url}: expected the URL of a folder, such as https://example.org/boards/")
    return url if url.endswith("/") else f"{url}/"


def _sitemap(base: str, paths: list[str]) -> str:
    urls = "".join(f"<url><loc>{escape(urljoin(base, quote(path)))}</loc></url>\n" for path in paths)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{urls}</urlset>\n"


def _site_files(out: Path) -> list[str]:
    """Return the files of the site in a folder; empty for a new or an empty folder."""
    if not names_in(out):
        return []
    try:
        index: Any = json.loads(read_regular(out / FILES))
    except (OSError, ValueError):
        index = None
    files = index.get("files") if isinstance(index, dict) and index.get("format") == "gahbench-site" else None
    if not isinstance(files, list) or not all(map(is_inside, files)):
        raise ParameterError(f"{out}: contains files other than a site; expected a new or an empty folder, or a site")
    return files
