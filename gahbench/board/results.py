"""Results of a suite: tidy tables, and the folder in which they are published."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import ResultsError, error_text, listing
from gahbench._util.files import read_regular, sha256_of
from gahbench._util.records import check_record, is_inside, parse_sealed
from gahbench.board.cube import ScoreCube, left_out_rows, metric_cube, share_spreads
from gahbench.board.display_names import DisplayNames, display_names
from gahbench.board.estimates import Estimates, estimate
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import OptimumCheck
from gahbench.board.ranks import over_datasets
from gahbench.board.rate_curves import DeficitCurve, deficit_curves
from gahbench.board.statistics import IntervalScale
from gahbench.board.tables import SCHEMAS, empty, plain, tidy
from gahbench.contracts.citation import Citation
from gahbench.contracts.row_labels import choose_labels
from gahbench.planning.suite_files import SuiteVersion
from gahbench.registry.registry import built_in_registry

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gahbench.registry.registry import Registry

FORMAT = "gahbench-results"
VERSION = 1
INDEX, SCORES, BOARD = "results.json", "scores.parquet", "leaderboard.md"


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a suite.

    The tables are validated, and converted to canonical types and a canonical order of rows and columns. Equal results
    therefore have equal tables, regardless of the order in which units ran.

    Parameters
    ----------
    suite
        Name of the suite.
    scores
        The tidy table, one row per value: suite, dataset, entrant, kind (trained, classical, oracle, optimal, bound),
        seed (of the training; missing for references), split, sigma (NaN for a value without a noise level), metric,
        image (missing for a value without an image), value.
    fits
        One row per trained network: dataset, entrant, seed, parameters (their number), train_seconds, steps, device,
        precision, compiled, budget (steps, epochs).
    failures
        One row per failed unit: dataset, entrant, seed, stage (fit, score), metric, error (one line).
    datasets
        One row per dataset, in the order of the suite: dataset, optimum (exact, bracket, rate, none), slope (the
        optimal slope; NaN if unknown), channels, height, width, fingerprint (SHA-256 of pixels from files; empty for
        other datasets), sources (the number of the source of each test image, separated by spaces, if several images,
        such as patches of a photograph, share a source), protocol (a digest of the dataset's parameters and of the
        seed of the noise: rows with equal digests can be compared), notes (unexpected changes of the images, one per
        line), spec (name and parameters, independent of the label), noise (``measured``; empty for white Gaussian
        noise).
    entrants
        Labels of the entrants, in the order of the suite.
    baseline
        Label of the entrant that gains are measured against; ``None`` without a baseline.
    costs
        One row per entrant and dataset: dataset, entrant, multiply_adds (per pixel), training_images (seen, with
        repetitions), seconds (per megapixel) and machine (the processor or GPU on which these were measured). Values
        may be missing.
    notes
        One row per note on an entrant: dataset, entrant, note (such as tuned values).
    metrics
        One row per metric or part of a metric, in the order of the suite: metric (as in the scores), title (in
        figures), null (the part that holds the value expected by chance, as in the scores; empty if there is none).
    flags
        One row per reason why scores of an entrant are flagged: dataset, entrant, flag (the reason). Entrants that
        beat the optimum are in :attr:`optimum_checks`.
    checks
        One row per checked entrant: dataset, entrant, version (of the rules), images (``new``, ``held out``, or empty).
    ratios
        One row per value that is a ratio of the means of two metrics: metric, numerator, denominator (as in the
        scores).
    parameters
        One row per value in which rows of one plugin differ: entrant, parameter (``entrant.width``, or
        ``training.learning_rate``) and setting, which may be a default.
    citations
        One row per work that a plugin cites: entry (the label of the entrant, dataset or metric that uses the plugin),
        plugin, and the fields of :class:`gahbench.Citation`.
    version
        The ``version`` of a frozen suite, and the ``digest`` (SHA-256) of the text of its file; ``None`` if the suite
        has no version, or the run changed its settings.
    registry
        Function that returns the plugins, which define the display names of entrants and datasets
        (:mod:`gahbench.board.display_names`). With ``None``, the default, boards show labels.

    Raises
    ------
    ResultsError
        If a table lacks a column, or names an entrant that is not in ``entrants``.

    Examples
    --------
    In a clone of the repository:

    >>> import gahbench
    >>> results = gahbench.load_results("results/quick")
    >>> scores = results.scores.query("metric == 'psnr' and split == 'test'")
    >>> sorted(scores["kind"].unique())
    ['classical', 'oracle', 'trained']
    """

    suite: str
    scores: pd.DataFrame
    fits: pd.DataFrame
    failures: pd.DataFrame
    datasets: pd.DataFrame
    entrants: list[str] = field(default_factory=list)
    baseline: str | None = None
    costs: pd.DataFrame = field(default_factory=lambda: empty("costs"))
    notes: pd.DataFrame = field(default_factory=lambda: empty("notes"))
    metrics: pd.DataFrame = field(default_factory=lambda: empty("metrics"))
    flags: pd.DataFrame = field(default_factory=lambda: empty("flags"))
    checks: pd.DataFrame = field(default_factory=lambda: empty("checks"))
    ratios: pd.DataFrame = field(default_factory=lambda: empty("ratios"))
    parameters: pd.DataFrame = field(default_factory=lambda: empty("parameters"))
    citations: pd.DataFrame = field(default_factory=lambda: empty("citations"))
    version: SuiteVersion | None = None
    registry: Callable[[], Registry] | None = field(default=None, repr=False)
    _complete: Results | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in SCHEMAS:
            object.__setattr__(self, name, tidy(getattr(self, name), name))
        tables = (self.scores, self.fits, self.failures, self.costs, self.notes, self.flags, self.checks)
        labels = {label for table in tables for label in table["entrant"].unique()}
        labels |= set() if self.baseline is None else {self.baseline}
        datasets = {name for table in tables for name in table["dataset"].unique()}
        for kind, named, known in (("entrants", labels, self.entrants), ("datasets", datasets, list(self.facts))):
            if unknown := sorted(named - {*known}):
                raise ResultsError(
                    f"results of suite '{self.suite}' name {listing(unknown)}; its {kind} are {listing(known)}"
                )

    def select(
        self, entrants: Sequence[str] = (), datasets: Sequence[str] = (), metrics: Sequence[str] = ()
    ) -> Results:
        """Return the results of chosen entrants, datasets and metrics; their ranks and intervals do not change.

        Parameters
        ----------
        entrants
            Labels, names or patterns of entrants; empty selects all. The baseline is always kept.
        datasets
            Labels, names or patterns of datasets; empty selects all.
        metrics
            Names or patterns of metrics; empty selects all. The PSNR is always kept.

        Raises
        ------
        ResultsError
            If nothing matches one of the patterns.
        """
        if not (entrants or datasets or metrics):
            return self
        chosen = {*choose_labels(entrants, self.entrants, "entrant", ResultsError), self.baseline}
        labels = [label for label in self.entrants if label in chosen]
        names = choose_labels(datasets, self.facts, "dataset", ResultsError)
        metric_names = {*choose_labels(metrics, sorted(self._metric_labels), "metric", ResultsError), "psnr"}
        tables: dict[str, Any] = {}
        for name in SCHEMAS:
            table = getattr(self, name)
            for column, accepted in (("entrant", labels), ("dataset", names)):
                table = table[table[column].isin(accepted)] if column in table else table
            tables[name] = table
        is_chosen = [parse_metric_name(metric).label in metric_names for metric in tables["scores"]["metric"]]
        tables["scores"] = tables["scores"].loc[is_chosen]
        selection = replace(self, **tables, entrants=labels)
        object.__setattr__(selection, "_complete", self.complete)
        return selection

    @property
    def complete(self) -> Results:
        """The results from which these were selected, which decide ranks and intervals; otherwise these results."""
        return self._complete or self

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The row of the table of datasets of each dataset, with the columns as attributes."""
        return {str(row.dataset): row for row in self.datasets.itertuples(index=False)}

    @cached_property
    def _metric_labels(self) -> set[str]:
        return {parse_metric_name(str(name)).label for name in self.scores["metric"].unique()}

    @cached_property
    def rows(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """The rows of scores by dataset, split and metric."""
        groups = self.scores.groupby(["dataset", "split", "metric"], sort=False)
        return {(str(dataset), str(split), str(metric)): rows for (dataset, split, metric), rows in groups}

    @cached_property
    def board(self) -> Estimates:
        """The board: ranks and facts of each dataset and entrant, and all values with their intervals."""
        if self._complete is None:
            return estimate(self)
        return self._complete.board.select(list(self.facts), self.entrants, self._metric_labels)

    @cached_property
    def names(self) -> DisplayNames:
        """The display names of entrants and datasets."""
        if self.registry is None:
            return DisplayNames()
        specs = {name: row.spec for name, row in self.complete.facts.items()}
        return display_names(self.registry(), self.complete.entrants, specs)

    def scale_of(self, metric: str) -> IntervalScale:
        """Return the scale of intervals that the plugin of a metric declares for a name in the table of scores."""
        name = parse_metric_name(metric)
        plugin = None if self.registry is None else self.registry().find("metric", name.name)
        if plugin is None:
            return "linear"
        scales: dict[str, IntervalScale] = {"share_parts": "logit", "positive_parts": "log"}
        return next((scales[parts] for parts in scales if name.part in (plugin.attribute(parts) or ())), "linear")

    @cached_property
    def works(self) -> dict[Citation, list[str]]:
        """The works that plugins cite, in order, each with the names of the plugins that cite it."""
        plugins: dict[Citation, dict[str, None]] = {}
        for _, plugin, *fields in self.citations[list(SCHEMAS["citations"])].itertuples(index=False, name=None):
            plugins.setdefault(Citation(*map(plain, fields)), {})[plugin] = None
        return {work: list(names) for work, names in plugins.items()}

    def over_datasets(self) -> pd.DataFrame:
        """Return means over datasets as one table, a row for each entrant that was scored on all datasets.

        Returns
        -------
        DataFrame
            Columns ``rank``, ``rank_high``, ``entrant``, ``kind``, ``psnr``, ``gain_over_baseline`` (dB, each with the
            ends ``_low`` and ``_high`` of a 95 % interval for these datasets), and ``interval_scope``: ``seeds`` if the
            intervals describe images and training seeds, ``weights`` if they describe images and these weights,
            ``images`` if no entrant has seeds, and empty without intervals. :mod:`gahbench.board.ranks` defines the
            intervals. Rows are sorted by PSNR, highest first. Empty if fewer than three datasets are scored.
        """
        return self._over_datasets.copy()

    @cached_property
    def _over_datasets(self) -> pd.DataFrame:
        return over_datasets(self)

    @property
    def optimum_checks(self) -> Mapping[str, OptimumCheck]:
        """Comparisons with the optimum, by dataset; only for datasets where an entrant is the optimum."""
        return self.board.checks

    @cached_property
    def left_out(self) -> dict[str, dict[str, str]]:
        """Reasons why entrants are left out of comparisons, by dataset (:mod:`gahbench.board.cube`)."""
        return left_out_rows(self)

    @cached_property
    def psnr_cubes(self) -> dict[str, ScoreCube]:
        """The PSNR of each dataset as an array, with the spreads over seeds of all datasets."""
        return share_spreads({dataset: metric_cube(self, dataset, "psnr") for dataset in self.facts})

    @cached_property
    def deficit_curves(self) -> dict[str, dict[str, DeficitCurve]]:
        """Distance from the bound against epsilon, by dataset and entrant (:mod:`gahbench.board.rate_curves`)."""
        return deficit_curves(self.complete)

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board as one table, a row for each dataset and entrant.

        Parameters
        ----------
        full
            Whether the table has all values at all noise levels with their intervals, instead of a summary, and a
            column such as ``training.learning_rate`` for each parameter in which rows of one plugin differ.
        """
        import pandas as pd

        table = self.board.leaderboard(full)
        if not full or self.parameters.empty:
            return table
        settings = self.parameters.pivot(index="entrant", columns="parameter", values="setting")
        added = settings[self.parameters["parameter"].unique()].reindex(table["entrant"]).reset_index(drop=True)
        for name, texts in added.items():
            numbers = pd.to_numeric(texts, errors="coerce")
            added[name] = numbers if numbers.count() == texts.count() else texts
        return pd.concat([table.drop(columns="note"), added, table["note"]], axis=1)

    def figure(
        self,
        name: str = "gains",
        *,
        dataset: str | Sequence[str] | None = None,
        entrants: str | Sequence[str] = (),
        **options: Any,
    ) -> Figure:
        """Draw a figure; a notebook displays it, and ``savefig`` writes it.

        Parameters
        ----------
        name
            A kind of figure, such as ``gains``, ``heat-map``, ``distances``, ``cost`` or ``bases``
            (:data:`gahbench.report.figures.FIGURES`), or the name of any metric, or ``metric.part``.
        dataset, entrants
            Labels, names or patterns of the datasets and the entrants that are drawn; by default all.
        **options
            ``width`` in millimetres, 180 by default, and the options of the kind.

        Raises
        ------
        GahbenchError
            If there is no such figure or option, or no values to draw.
        """
        from gahbench.report.figures import figure

        return figure(self, name, dataset=dataset, entrants=entrants, **options)

    def __repr__(self) -> str:
        scored = f"{len(self.datasets)} datasets, {len(self.entrants)} entrants, {len(self.scores)} scores"
        return f"Results('{self.suite}', {scored})"

    def _repr_html_(self) -> str:
        table = self.leaderboard().astype(object)
        return str(table.where(table.notna(), "–").to_html(index=False, float_format="{:.2f}".format))

    def parquet(self) -> bytes:
        """Return the tidy scores as the bytes of a Parquet file; equal scores give equal bytes."""
        buffer = io.BytesIO()
        self.scores.to_parquet(buffer, engine="pyarrow", index=False, compression="zstd")
        return buffer.getvalue()


def load_results(folder: str | os.PathLike[str], registry: Registry | None = None) -> Results:
    """Return the results in a folder: tidy ``scores``, ``fits``, ``failures``, and the ``leaderboard()``.

    Parameters
    ----------
    folder
        A results folder with the files ``scores.parquet`` and ``results.json``.
    registry
        The plugins that name entrants and datasets on boards; by default the built-in plugins.

    Raises
    ------
    ResultsError
        If a file is missing or unreadable, was not written by gahbench, or does not match the other file.

    Examples
    --------
    In a clone of the repository:

    >>> import gahbench
    >>> gahbench.load_results("results/quick")
    Results('quick', 3 datasets, 8 entrants, 7920 scores)
    """
    import pandas as pd

    folder = Path(folder)
    index = _index(folder)
    try:
        content = read_regular(folder / SCORES)
        if hashlib.sha256(content).hexdigest() != index["scores_sha256"]:
            raise ResultsError(f"{SCORES} is damaged, or was not written together with {INDEX}, whose checksum differs")
        tables: dict[str, Any] = {
            name: pd.DataFrame(index[name]) if index[name] else empty(name) for name in SCHEMAS if name != "scores"
        }
        return Results(
            index["suite"],
            pd.read_parquet(io.BytesIO(content), engine="pyarrow"),
            **tables,
            entrants=index["entrants"],
            baseline=index["baseline"],
            version=check_record(SuiteVersion | None, index.get("suite_version"), "the version of the suite"),
            registry=built_in_registry if registry is None else lambda: registry,
        )
    except Exception as error:
        # pandas and pyarrow raise errors of many types on invalid tables.
        raise ResultsError(f"{folder}: cannot be read as results of gahbench: {error_text(error)}") from error


def saved_digest(folder: str | os.PathLike[str]) -> str | None:
    """Return the digest of the results in a folder; ``None`` if there are no results, or a file was changed."""
    index = index_or_none(Path(folder)) or {}
    try:
        is_saved = all(sha256_of(Path(folder) / name) == content for name, content in saved_files(index).items())
    except OSError:
        return None
    return index.get("digest") if is_saved else None


def saved_files(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of the files that were written with results, by name."""
    return {name: digest for name, digest in index.get("files", {}).items() if is_inside(name)}


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = parse_sealed(read_regular(path))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); expected a results folder") from error
    except ValueError as error:
        raise ResultsError(f"{path}: damaged, or not a file of gahbench: {error}") from error
    if (index.get("format"), index.get("version")) != (FORMAT, VERSION):
        raise ResultsError(f"{path}: another format; this gahbench reads version {VERSION} of {FORMAT}")
    return index


def index_or_none(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``results.json``; ``None`` if it is missing or invalid."""
    try:
        return _index(folder)
    except ResultsError:
        return None
