"""A page of a results folder: board, curves, images, training, bases, generalization, claims, and their provenance."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import gahbench
from gahbench._util.files import write_output
from gahbench._util.readable import counted
from gahbench.board.claim_values import Table
from gahbench.board.results import load_results
from gahbench.report.claims import judged, summary
from gahbench.report.columns import LENGTH
from gahbench.report.legend import dataset_lines, legend, rate_lines
from gahbench.report.page import board, charts, images, provenance, sweeps, training
from gahbench.report.page.colours import key_drawing
from gahbench.report.page.rendering import rendered
from gahbench.report.page.source import Source
from gahbench.report.page.svg import Chart, inline_svg
from gahbench.report.tables import notes_below, overall_title, summary_title

if TYPE_CHECKING:
    from gahbench.registry.registry import Registry

#: Sections of a page, in their order; bases, sweeps and claims only where there are any.
SECTIONS = ("board", "curves", "images", "training", "basis", "generalization", "claims", "provenance")
#: The pages of runs, entrants and datasets that a report alone has.
NO_PAGES: Mapping[str, Mapping[str, str]] = {"runs": {}, "entrants": {}, "datasets": {}}


def write_report(folder: Path, out: Path, registry: Registry) -> int:
    """Write the report of a results folder, and return how many bytes it has."""
    content = html_report(folder, registry).encode()
    write_output(content, out)
    return len(content)


def html_report(folder: Path, registry: Registry) -> str:
    """Return the report of a results folder as one HTML page; equal folders give equal pages."""
    values = report_values(Source(folder, load_results(folder), registry))
    return rendered({**values, "site": None, "pages": NO_PAGES, "about": None})


def report_values(source: Source) -> dict[str, Any]:
    """Return what ``body.html`` shows of results, but for what a site adds: ``site``, ``pages`` and ``about``."""
    numbers = count()

    def drawn(chart: Chart) -> tuple[Markup, str]:
        made = inline_svg(chart, next(numbers))
        return Markup(made.svg), " ".join(f"{place:g}" for place in made.places)

    results, datasets = source.results, list(_datasets(source))
    overall = results.means_over_datasets
    values: dict[str, Any] = {
        "title": f"{results.suite} – gahbench",
        "heading": results.suite,
        "version": gahbench.__version__,
        "results": results,
        "size": f"{counted(len(results.entrants), 'entrant')} on {counted(len(datasets), 'dataset')}",
        "kinds": sorted({entry.kind for entry in results.board.entries if entry.kind}),
        "legend": legend(results),
        "overall": board.overall_table(overall),
        "overall_title": overall_title(overall),
        "datasets": datasets,
        "groups": max((len(one["table"].groups) for one in datasets), default=1),
        "places": source.places,
        "keys": {
            label: Markup(key_drawing(style, f"k{source.places[label]}")) for label, style in source.styles.items()
        },
        "length": LENGTH,
        "drawn": drawn,
        "gallery": images.gallery(source),
        "training": {
            "trained": training.trainings(source),
            "fits": training.fits_table(source),
            "failures": training.failures(source),
        },
        "bases": charts.basis_charts(source),
        "sweeps": sweeps.sweeps(source),
        "sheets": sweeps.sample_sheets(source),
        "provenance": _provenance(source),
    }
    table = Table(source.results.suite, source.results)
    measured = [one for one in judged(source.registry, [table]) if one.outcome != "not measured"]
    values["claims"] = {"judged": measured, "outcomes": summary([one.outcome for one in measured])}
    shown = {"basis": values["bases"], "generalization": values["sweeps"], "claims": measured}
    return {**values, "sections": {name: name.capitalize() for name in SECTIONS if shown.get(name, True)}}


def _datasets(source: Source) -> Iterator[dict[str, Any]]:
    for number, one in enumerate(source.results.board.datasets):
        against, extremes = images.extremes(source, one.dataset)
        yield {
            "id": f"d{number}",
            "name": one.dataset,
            "title": summary_title(one),
            "lines": [
                line.replace("`", "")
                for line in (*dataset_lines(one.dataset, source.results), *rate_lines(one, source.results))
            ],
            "table": board.dataset_table(one),
            "notes": notes_below(one),
            "charts": charts.board_charts(source, one),
            "metrics": charts.metric_charts(source, one),
            "shown": [entry.entrant for entry in source.drawn(one)],
            "entrants": len(one.entries),
            "against": against,
            "extremes": extremes,
        }


def _provenance(source: Source) -> dict[str, Any]:
    folder, plan = source.folder, provenance.recorded_plan_of(source.folder)
    works = provenance.works(source, plan)
    if plan is not None and not all(source.has(unit.dataset, unit.entrant) for unit in plan.shown):
        warnings.warn(
            f"{folder}: its plan was changed after its board was written; "
            f"'gahbench collect {shlex.quote(str(folder))}' writes the board anew",
            stacklevel=2,
        )
    return {
        "suite": "" if plan is None else plan.suite_text,
        "changes": () if plan is None else plan.changes,
        "protocol": {} if plan is None else provenance.protocol(plan),
        "environment": provenance.environment_of(folder),
        "checksums": provenance.checksums_of(folder),
        "works": [(", ".join(names), str(work)) for work, names in works.items()],
        "downloads": provenance.downloads(source.results, plan, works),
    }
