"""Facts about datasets and entrants in results: names, kinds, costs, optima and notes."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ParameterError
from gahbench._util.readable import pluralize
from gahbench.board.statistics import MIN_SOURCES
from gahbench.board.tables import plain, psnr_rows, rows_of
from gahbench.contracts.row_labels import base_label
from gahbench.registry.spec import Spec, format_value, parse_spec

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The error of a unit that has not run yet.
NOT_RUN = "not run yet"
#: Prefix of the note on rows with their own training settings; the note lists the settings, with the suite's values in
#: brackets.
OWN_TRAINING = "own training settings: "
#: Prefix of the note on entrants that cannot take the images of a dataset; the reason follows.
REFUSED = "cannot take these images: "
#: Columns of the board by column of the table of costs.
COSTS = {
    "multiply_adds": "multiply_adds_per_pixel",
    "seconds": "seconds_per_megapixel",
    "machine": "measured_on",
    "training_images": "training_images",
}
TIME_BUDGET = "time budget: rows depend on the machine"


def dataset_names(results: Results) -> list[str]:
    """Return the datasets that have results, in the order of the results."""
    tables = (results.datasets, results.scores, results.fits, results.failures)
    return list(dict.fromkeys(str(name) for table in tables for name in table["dataset"].unique()))


def base_entrants(results: Results) -> list[str]:
    """Return the entrants of results, which every page counts; the rows of a sweep are one entrant."""
    return list(dict.fromkeys(map(base_label, results.entrants)))


def entrant_kinds(results: Results) -> dict[str, str]:
    """Return the kind of every entrant that was trained or scored."""
    scored = results.scores[["entrant", "kind"]].drop_duplicates()
    kinds = dict.fromkeys(results.fits["entrant"], "trained")
    failures = results.failures
    kinds |= dict.fromkeys(failures.loc[failures["stage"] == "fit", "entrant"], "trained")
    return kinds | dict(zip(scored["entrant"], scored["kind"], strict=True))


def entrants_on(results: Results, dataset: str) -> set[str]:
    """Return the entrants that have results on a dataset."""
    tables = (results.scores, results.fits, results.failures, results.notes)
    return {label for table in tables for label in table.loc[table["dataset"] == dataset, "entrant"].unique()}


def is_fitted(results: Results, dataset: str, entrant: str) -> bool:
    """Return whether the suite trained, or tried to train, an entrant; loaded weights have no seed."""
    tables = (results.fits, results.failures[results.failures["stage"] == "fit"])
    return any(rows_of(table, dataset, entrant)["seed"].notna().any() for table in tables)


def _fact(results: Results, dataset: str, column: str, default: Any = "") -> Any:
    values = results.datasets.loc[results.datasets["dataset"] == dataset, column]
    return default if values.empty else values.iloc[0]


def optimum_of(results: Results, dataset: str) -> tuple[str, float]:
    """Return the kind of a dataset's optimum, and the optimal slope, which is NaN if unknown."""
    return _fact(results, dataset, "optimum", "none"), float(_fact(results, dataset, "slope", math.nan))


def dataset_notes(results: Results, dataset: str) -> list[str]:
    """Return the notes on a dataset: changes of its images that may be unintended."""
    return list(_fact(results, dataset, "notes").splitlines())


def noise_of(results: Results, dataset: str) -> str:
    """Return the kind of the noise of a dataset's scores; empty for white Gaussian noise."""
    return str(_fact(results, dataset, "noise"))


def sources_of(results: Results, dataset: str) -> list[int] | None:
    """Return the number of the source of each test image of a dataset; ``None`` if each image has its own source."""
    return [int(number) for number in _fact(results, dataset, "sources").split()] or None


def independent_images(results: Results, dataset: str) -> int:
    """Return the number of independent test images that were scored; images of one source count once."""
    images, sources = psnr_rows(results.scores, dataset)["image"].dropna().unique(), sources_of(results, dataset)
    return len(images if sources is None else {sources[image] for image in images if 0 <= image < len(sources)})


def too_few(count: int, are_sources: bool) -> str:
    """Format the number of independent images, and the number that an interval needs."""
    images = f"{pluralize(count, 'independent source')} of images" if are_sources else pluralize(count, "image")
    return f"{images}, and {MIN_SOURCES} are needed"


def cost_of(results: Results, dataset: str, entrant: str) -> dict[str, Any]:
    """Return the known costs of an entrant on a dataset by column of the board; of several records, the fastest."""
    fits, costs = (rows_of(table, dataset, entrant) for table in (results.fits, results.costs))
    known: dict[str, Any] = {}
    if not fits.empty:
        known = {"parameters": int(fits["parameters"].iloc[0]), "train_seconds": float(fits["train_seconds"].mean())}
    for _, row in costs.sort_values("seconds", kind="stable")[:1].iterrows():
        known |= {column: value for name, column in COSTS.items() if (value := plain(row[name])) is not None}
    return known


def families(results: Results) -> dict[str, dict[int, str]]:
    """Return groups of datasets that differ only in their parameter ``size``, by name and by side in pixels."""
    members_by_family: dict[str, dict[int, str]] = {}
    facts = results.datasets
    for dataset, size in zip(map(str, facts["dataset"]), facts["height"], strict=True):
        # Labels that cannot be parsed, such as names that a suite defines, belong to no family.
        with contextlib.suppress(ParameterError):
            members_by_family.setdefault(label_without(parse_spec(dataset), "size"), {})[int(size)] = dataset
    return {name: dict(sorted(members.items())) for name, members in members_by_family.items()}


def rendered_families(results: Results) -> dict[str, dict[int, str]]:
    """Return the :func:`families` with a ``render_size``: their images are block averages of the same large images."""
    return {
        name: members
        for name, members in families(results).items()
        if parse_spec(name).keywords.get("render_size") is not None
    }


def label_without(spec: Spec, parameter: str) -> str:
    """Return the text of a spec without one of its parameters."""
    keywords = [f"{name}={format_value(value)}" for name, value in spec.keywords.items() if name != parameter]
    parameters = ",".join([*map(format_value, spec.positional), *keywords])
    return f"{spec.name}[{parameters}]" if parameters else spec.name
