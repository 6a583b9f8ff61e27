"""The HTML report of a results folder.

Pages send no requests, and their content security policy allows only their own script and style.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import gahbench
from gahbench._util.files import write_output
from gahbench.board.claim_values import Table
from gahbench.board.results import Results, load_results
from gahbench.report.cells import LENGTH, overall_columns
from gahbench.report.claims import judge_claims, summary
from gahbench.report.direction_lines import direction_lines
from gahbench.report.legend import dataset_lines, glossary, rate_lines
from gahbench.report.page import charts, images, provenance
from gahbench.report.page.charts import Source
from gahbench.report.page.costs import cost_section
from gahbench.report.page.eigenvectors import eigenvector_gallery
from gahbench.report.page.entrant_tables import column_definitions, dataset_table, entrant_table, metric_definitions
from gahbench.report.page.first_screen import FILTERS, FIRST_ROWS, first_screen
from gahbench.report.page.readme import read_readme
from gahbench.report.page.svg import Chart, colours_in, css_declarations, inline_svg, key_drawing
from gahbench.report.page.sweeps import sweep_charts
from gahbench.report.page.transfer import transfer_sections
from gahbench.report.tables import notes_below, overall_title, summary_title

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry

#: The sections of a page in their order, and the names of their templates; :func:`report_values` says which are
#: optional.
SECTIONS = (
    "board",
    "transfer",
    "cost",
    "curves",
    "images",
    "training",
    "basis",
    "generalization",
    "claims",
    "provenance",
)
#: The policy source of a page whose style and script are files of its site.
SAME_ORIGIN = "'self'"


def write_report(folder: Path, out: Path, registry: Registry, results: Results | None = None) -> int:
    """Write the report of a results folder, or of its results with more rows, and return its size in bytes."""
    content = html_report(folder, registry, results).encode()
    write_output(content, out)
    return len(content)


def html_report(folder: Path, registry: Registry, results: Results | None = None) -> str:
    """Return the report of a results folder as one HTML page; equal folders give equal pages."""
    values = report_values(Source(folder, results or load_results(folder, registry), registry))
    body = render_template("body.html", {**values, "site": None, "pages": {}, "about": None})
    style, script = stylesheet(colours_in(body), values["groups"]), template_text("script.js")
    hashes = (_hash_source(style), _hash_source(script))
    return render_page(
        values["title"], body, Markup(f"<style>{style}</style>"), Markup(f"<script>{script}</script>"), hashes
    )


def report_values(source: Source) -> dict[str, Any]:
    """Return the values of ``body.html`` except ``site``, ``pages`` and ``about``, which a site adds."""
    numbers = count()

    def draw_chart(chart: Chart) -> tuple[Markup, str]:
        svg, positions = inline_svg(chart, next(numbers))
        return Markup(svg), " ".join(f"{position:g}" for position in positions)

    results, definitions = source.results, column_definitions(source.results)
    datasets = list(_datasets(source, definitions))
    overall = results.means_over_datasets
    readme = read_readme(source.folder)
    tables = [Table(results.suite, results)]
    measured = [claim for claim in judge_claims(source.registry, tables) if claim.outcome != "not measured"]
    values: dict[str, Any] = {
        "title": f"{results.suite} – gahbench",
        "heading": results.suite,
        "version": gahbench.__version__,
        "results": results,
        "names": results.names,
        "screen": first_screen(results, readme.title),
        "readme": readme,
        "first_rows": FIRST_ROWS,
        "addresses": {dataset["name"]: f"#{dataset['id']}-board" for dataset in datasets},
        "kinds": sorted({entry.kind for entry in results.board.entries if entry.kind}),
        "glossary": {**glossary(results), **metric_definitions(results)},
        "overall": overall.rows and entrant_table(overall.rows, overall_columns(overall.rows), definitions),
        "overall_title": overall_title(overall, results.names),
        "datasets": datasets,
        "groups": max((len(dataset["table"].groups) for dataset in datasets), default=1),
        "indices": source.indices,
        "keys": {
            label: Markup(key_drawing(style, f"k{source.indices[label]}")) for label, style in source.styles.items()
        },
        "length": LENGTH,
        "draw_chart": draw_chart,
        "gallery": images.gallery(source),
        "eigenvectors": eigenvector_gallery(source),
        "training": {
            "trained": charts.training_charts(source),
            "fits": provenance.fits_table(source),
            "failures": provenance.failures(source),
        },
        "cost": cost_section(source),
        "transfers": transfer_sections(source),
        "sweeps": sweep_charts(source),
        "sheets": images.sample_sheets(source),
        "claims": {"judged": measured, "outcomes": summary([(claim.outcome, claim.checked) for claim in measured])},
        "provenance": _provenance(source),
    }
    optional_sections = {
        "cost": values["cost"],
        "basis": values["screen"].directions or values["eigenvectors"],
        "transfer": values["transfers"],
        "generalization": values["sweeps"],
        "claims": measured,
    }
    return {**values, "sections": {name: name.capitalize() for name in SECTIONS if optional_sections.get(name, True)}}


def _datasets(source: Source, definitions: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for index, board in enumerate(source.results.board.datasets):
        against, extremes = images.extremes(source, board.dataset)
        remarks = list(direction_lines(board, source.results.names))
        lines = (*dataset_lines(board.dataset, source.results), *rate_lines(board, source.results))
        yield {
            "id": f"d{index}",
            "name": board.dataset,
            "title": summary_title(board),
            "lines": [line.replace("`", "") for line in lines if line not in remarks],
            "remarks": [line.replace("`", "") for line in remarks],
            "table": dataset_table(board, definitions),
            "notes": notes_below(board),
            "charts": charts.board_charts(source, board),
            "metrics": charts.metric_charts(source, board),
            "drawn": [entry.entrant for entry in source.drawn_entries(board)],
            "entrants": len(board.entries),
            "against": against,
            "extremes": extremes,
        }


def _provenance(source: Source) -> dict[str, Any]:
    folder, plan = source.folder, source.plan
    works = provenance.works(source, plan)
    if plan is not None and not all(source.is_on_board(unit.dataset, unit.entrant) for unit in plan.units):
        warnings.warn(
            f"{folder}: its plan was changed after its board was written; "
            f"'gahbench leaderboard {shlex.quote(str(folder))}' writes the board again",
            stacklevel=2,
        )
    return {
        "suite": "" if plan is None else plan.suite_text,
        "changes": () if plan is None else plan.changes,
        "protocol": {} if plan is None else provenance.protocol(plan, source.results.names),
        "environment": provenance.load_environment(folder),
        "checksums": provenance.file_checksums(folder),
        "works": [(", ".join(names), work) for work, names in works.items()],
        "downloads": provenance.downloads(source.results, plan, works),
    }


def render_page(title: str, body: str, style: str, script: str, sources: tuple[str, str], images: str = "data:") -> str:
    """Render a page with a body, style and script; ``sources`` are the policy sources of style and script."""
    policy = {
        "default-src": "'none'",
        "img-src": images,
        "style-src": sources[0],
        "script-src": sources[1],
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return render_template(
        "page.html",
        {
            "title": title,
            "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "style": style,
            "script": script,
            "body": Markup(body),
        },
    )


def render_template(template: str, values: Mapping[str, Any], package: str = "gahbench.report") -> str:
    """Render a template of a package, or of the report, with values."""
    return _environment(package).get_template(template).render(values)


def stylesheet(used_colours: set[str], groups: int, more: str = "") -> str:
    """Return the style sheet of pages with the given colours and number of column groups, and ``more`` rules."""
    light, dark = css_declarations(used_colours)
    # The class byN on a table shows the columns of group N only.
    cells = [f".by{group} :is(td,thead th+th):not(.g{group})" for group in range(groups)]
    hidden = ",".join(cells)
    dark_screens = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    style = "\n".join(filter(None, (template_text("style.css"), template_text("first_screen.css"), more)))
    return f"{hidden}{{display:none}}\n:root{{{light}}}\n{dark_screens}\n{style}"


def template_text(name: str, package: str = "gahbench.report") -> str:
    """Return the text of a template file of a package, such as ``script.js``."""
    return (importlib.resources.files(package) / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, "gahbench.report"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": _breakable, **FILTERS}
    return environment


def _breakable(label: str) -> str:
    """Return a label as HTML with possible line breaks at brackets and after commas."""
    return Markup("<wbr>").join(escape(segment) for segment in re.split(r"(?<=,)|(?=\[)", label) if segment)


def _hash_source(content: str) -> str:
    """Return the policy source that allows an inline script or style by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
