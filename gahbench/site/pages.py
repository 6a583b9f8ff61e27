"""A site of results folders: an index, and the report of each folder."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from PIL import Image

from gahbench._util.errors import ParameterError, ResultsError
from gahbench._util.files import delete_file, names_in, read_regular, write_output
from gahbench._util.readable import format_number, pluralize
from gahbench._util.records import is_inside
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.results import INDEX, Results, load_results
from gahbench.contracts.row_labels import base_label
from gahbench.registry.registry import Registry
from gahbench.report.cells import DASH, data_url, file_stems
from gahbench.report.claims import CLAIMS, GENERATED
from gahbench.report.page.readme import Readme, html_of_markdown, read_markdown, read_readme
from gahbench.report.page.report import file_checksums, html_page, html_report
from gahbench.report.pictures import find_sheets, png_data_url

#: The list of the files of a site, which lets a new site in the same folder replace all of them.
FILES = "site.json"
#: The question that boards answer, the heading of the index.
QUESTION = "How far are image denoisers from the best possible, and which basis do they use?"
#: The tables of a results folder that a site copies.
TABLES = ("leaderboard.csv", "over_datasets.csv", "scores.parquet")
#: The largest file that is copied or drawn, in bytes.
MAX_BYTES = 20_000_000
_THUMBNAIL_SIZE, _THUMBNAIL_COLOURS = (640, 640), 64


@dataclass(frozen=True, eq=False)
class Run:
    """What the index of a site shows of a results folder.

    ``rows`` are those of its ``leaderboard.csv``, ``datasets`` the facts of each dataset in ``results.json``, and
    ``previews`` pictures of datasets.
    """

    name: str
    page: str
    readme: Readme
    size: str
    picture: str
    rows: pd.DataFrame
    datasets: Mapping[str, Any]
    previews: Mapping[str, str]


def write_site(
    folder: Path,
    out: Path,
    registry: Registry,
    *,
    title: str = "gahbench",
    documentation: str = "",
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> list[str]:
    """Write a site of all results folders in a folder, and return the names of its files.

    Equal folders give equal sites.

    Parameters
    ----------
    folder
        The folder of results folders. Boards have the order in which its README.md links to them.
    out
        The folder of the site: new, empty, or an earlier site, which is replaced.
    registry
        The plugins.
    title
        The title of the site.
    documentation
        The folder within the site of the documentation that Sphinx builds from the parent of ``folder``. The site links
        to its pages about boards and claims. Without it, the site has a page of the claims.md of ``folder``.
    progress
        A function that is called with the name of each results folder and the finished share of them.

    Raises
    ------
    ResultsError
        If no folder holds results.
    ParameterError
        If ``out`` contains other files than a site, or ``documentation`` is not a folder within the site.
    """
    if documentation and not is_inside(documentation):
        raise ParameterError(f"--documentation {documentation}: expected a folder within the site, such as docs")
    previous_files = _site_files(out)
    # The documentation has the pages of the folder that contains the results folders.
    pages = f"{documentation.strip('/')}/{quote(folder.resolve().name)}" if documentation else ""
    navigation = {title: "index.html", "Boards": "index.html#boards", "Entrants": "index.html#entrants"}
    if claims := read_markdown(folder / CLAIMS):
        page = Path(CLAIMS).with_suffix(".html").name
        navigation["Claims"] = f"{pages}/{page}" if pages else page
    if pages:
        root = f"{pages.rpartition('/')[0]}/"
        navigation |= {"Documentation": f"{root}index.html", "Search": f"{root}search.html"}
    runs, files = _reports(folder, registry, navigation, pages, progress)
    values = {"heading": QUESTION, "navigation": navigation, **_index(runs, registry)}
    files["index.html"] = html_page(title, "index.html", values).encode()
    if claims and not pages:
        boards = {f"{run.name}/README.md": run.page for run in runs}
        values = {"navigation": navigation, "text": html_of_markdown(claims.replace(GENERATED, ""), boards)}
        files[navigation["Claims"]] = html_page(f"Claims – {title}", "text.html", values).encode()
    files[FILES] = (json.dumps({"format": "gahbench-site", "files": sorted(files)}, indent=1) + "\n").encode()
    for name, content in files.items():
        write_output(content, out / name)
    for name in previous_files:
        if name not in files:
            delete_file(out, name)
    return sorted(files)


def _reports(
    folder: Path, registry: Registry, navigation: Mapping[str, str], pages: str, progress: Callable[[str, float], None]
) -> tuple[list[Run], dict[str, bytes]]:
    """Return what the index shows of each results folder, and the reports and tables of all, by path in the site."""
    folders = _results_folders(folder)
    runs: list[Run] = []
    files: dict[str, bytes] = {}
    for number, (name, stem) in enumerate(file_stems(list(folders)).items()):
        progress(name, number / len(folders))
        path = folders[name]
        try:
            # One board at a time is in memory.
            results = load_results(path, registry)
        except ResultsError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            continue
        run, tables = _run(name, f"runs/{stem}.html", path, results), _tables(path)
        links = {label: f"../{address}" for label, address in navigation.items()}
        if pages and run.readme.title:
            links["About this board"] = f"../{pages}/{quote(path.relative_to(folder).as_posix())}/README.html"
        files |= {f"runs/{stem}/{table}": content for table, content in tables.items()}
        addresses = {table: f"{quote(stem)}/{table}" for table in tables}
        files[run.page] = html_report(path, registry, results, addresses, links, is_saved=True).encode()
        runs.append(run)
    if not runs:
        raise ResultsError(f"{folder}: holds no results; expected a folder of results folders, each with {INDEX}")
    return runs, files


def _results_folders(folder: Path) -> dict[str, Path]:
    """Return the results folders in a folder, which may be one itself, in the order of the links in its README.md."""
    names = sorted(names_in(folder))
    own_name = folder.resolve().name
    folders = {f"{own_name}/" if own_name in names else own_name: folder, **{name: folder / name for name in names}}
    found = {}
    for name, path in folders.items():
        if not (path / INDEX).is_file():
            continue
        if (path / INDEX).resolve().is_relative_to(folder.resolve()):
            found[name] = path
        else:
            warnings.warn(
                f"left out: {path}: is a symbolic link that leads out of {folder}; copy it there", stacklevel=3
            )
    text = read_markdown(folder / "README.md")

    def position(name: str) -> tuple[int, str]:
        match = re.search(rf"\]\((?:\./)?{re.escape(name)}[/)#]", text)
        return match.start() if match else len(text), name

    return {name: found[name] for name in sorted(found, key=position)}


def _run(name: str, page: str, path: Path, results: Results) -> Run:
    rows = results.leaderboard(full=True)[["dataset", "entrant", "kind", "rank", "parameters"]]
    datasets = {str(row["dataset"]): row for row in results.datasets.to_dict("records")}
    entrants = {base_label(label) for label in results.entrants}
    size = f"{pluralize(len(entrants), 'entrant')} on {pluralize(rows['dataset'].nunique(), 'dataset')}"
    readme = read_readme(path)
    figures = [file for file in file_checksums(path) if re.fullmatch(r"(figures|pictures)/[^/]+\.(png|svg)", file)]
    # A page chooses the picture of its board by its first picture.
    drawn = (thumbnail(path, file) for file in (readme.picture, *figures) if file.endswith((".png", ".svg")))
    previews = {
        sheet.dataset: data_url(replace(sheet, rows=sheet.rows[:1]).content) for sheet in find_sheets(path, "pictures")
    }
    return Run(name, page, readme, size, next(filter(None, drawn), ""), rows, datasets, previews)


def _tables(path: Path) -> dict[str, bytes]:
    """Return the tables of a results folder that are as they were published."""
    found = {}
    for name, checksum in file_checksums(path).items():
        if name in TABLES and hashlib.sha256(content := _read(path, name)).hexdigest() == checksum:
            found[name] = content
    return found


def _read(folder: Path, name: str) -> bytes:
    """Return the content of a file in a folder; empty if it is outside of the folder, absent or too large."""
    try:
        file = (folder / name).resolve()
        # A symbolic link may lead out of the folder, like ``..``.
        return read_regular(file, MAX_BYTES) if file.is_relative_to(folder.resolve()) else b""
    except (OSError, ValueError, RuntimeError):
        return b""


def thumbnail(folder: Path, name: str) -> str:
    """Return a small copy of a picture, or a figure, as a ``data:`` URL; empty for files that are neither."""
    try:
        if name.endswith(".svg"):
            return data_url(_read(folder, name), "svg+xml")
        with Image.open(io.BytesIO(_read(folder, name)), formats=("PNG",)) as picture:
            picture.thumbnail(_THUMBNAIL_SIZE)
            return png_data_url(picture, _THUMBNAIL_COLOURS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def _index(runs: Sequence[Run], registry: Registry) -> dict[str, Any]:
    """Return the values of the index: a card for each run, the datasets with their runs, and the entrants."""
    rows = pd.concat([run.rows.assign(run=run.name) for run in runs])
    datasets = {label: facts for run in reversed(runs) for label, facts in run.datasets.items()}
    names = display_names(registry, rows["entrant"], {label: facts["spec"] for label, facts in datasets.items()})
    return {
        "runs": runs,
        "count": pluralize(len(runs), "board"),
        "datasets": [
            {
                "label": label,
                "name": names.dataset(label),
                "facts": _dataset_facts(datasets.get(label, {})),
                "preview": next((run.previews[label] for run in runs if label in run.previews), ""),
                "runs": [run for run in runs if label in set(run.rows["dataset"])],
            }
            for label in sorted(rows["dataset"].unique())
        ],
        "entrants": _entrants(rows, names),
    }


def _dataset_facts(row: Mapping[str, Any]) -> str:
    sizes = [row.get(name, math.nan) for name in ("channels", "height", "width")]
    shape = "" if any(map(pd.isna, sizes)) else f"images of {'×'.join(str(int(size)) for size in sizes)}, "
    return f"{shape}optimum {row.get('optimum', 'none')}"


def _entrants(rows: pd.DataFrame, names: DisplayNames) -> list[dict[str, str]]:
    """Return a row for each entrant: the rows of a sweep are one entrant, and count once for each board."""
    rows = rows.assign(entrant=rows["entrant"].map(base_label))
    entrants = []
    for label, standings in rows.groupby("entrant"):
        ranks, parameters = standings["rank"].dropna(), standings["parameters"].max()
        entrants.append(
            {
                "label": str(label),
                "name": names.entrant(str(label)),
                "kind": next(filter(None, standings["kind"]), DASH),
                "parameters": DASH if pd.isna(parameters) else format_number(parameters),
                "key": "" if pd.isna(parameters) else str(int(parameters)),
                "boards": str(len(standings.drop_duplicates(["run", "dataset"]))),
                "first": str((ranks == 1).sum()) if len(ranks) else DASH,
            }
        )
    return entrants


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
