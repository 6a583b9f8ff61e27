"""Results of a suite: tidy tables, and the folder in which they are published."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from gahbench._util.errors import ResultsError, listing
from gahbench._util.files import open_regular, read_regular
from gahbench._util.records import check_record, is_inside, parse_sealed
from gahbench.board.board import Board, short_table, wide_table
from gahbench.board.combined import combine
from gahbench.board.facts import dataset_names
from gahbench.board.leaderboard import make_board, optimum_checks
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import OptimumCheck
from gahbench.board.ranks import OverDatasets, over_datasets
from gahbench.board.rate_curves import deficit_curves, is_optimality_slope, judge_rates
from gahbench.board.rate_verdicts import DeficitCurve, RateVerdict
from gahbench.board.scorecube import left_out_rows
from gahbench.board.tables import SCHEMAS, Tables, empty, plain
from gahbench.board.transfer import Transfer, transfers
from gahbench.contracts.citation import Citation
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
class Results(Tables):
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
        precision, compiled, budget (steps, epochs, seconds).
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
    citations
        One row per work that a plugin cites: entry (the label of the entrant, dataset or metric that uses the plugin),
        plugin, and the fields of :class:`gahbench.Citation`.
    version
        The ``version`` of a frozen suite, and the ``digest`` (SHA-256) of the text of its file; ``None`` if the suite
        has no version, or the run changed its settings.
    selected_from
        The complete results from which these results were selected (:func:`gahbench.board.selection.select`); ranks
        and intervals are those of the complete results. ``None`` if these results are complete.
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

    selected_from: Results | None = field(default=None, repr=False)

    @cached_property
    def board(self) -> Board:
        """The board: ranks and facts of each dataset and entrant, and all values with their intervals."""
        if self.selected_from is None:
            return make_board(self, self.left_out, self.optimum_checks, self.rate_verdicts)
        metrics = {parse_metric_name(str(name)).label for name in self.scores["metric"].unique()}
        return self.selected_from.board.restrict(self.entrants, dataset_names(self), metrics)

    @cached_property
    def works(self) -> dict[Citation, list[str]]:
        """The works that plugins cite, in order, each with the names of the plugins that cite it."""
        plugins: dict[Citation, dict[str, None]] = {}
        for _, plugin, *fields in self.citations[list(SCHEMAS["citations"])].itertuples(index=False, name=None):
            plugins.setdefault(Citation(*map(plain, fields)), {})[plugin] = None
        return {work: list(names) for work, names in plugins.items()}

    @cached_property
    def means_over_datasets(self) -> OverDatasets:
        """Means over datasets of entrants that were scored on all datasets, and the population of their intervals."""
        return over_datasets(self, (self.selected_from or self).board, self.left_out)

    def over_datasets(self) -> pd.DataFrame:
        """Return means over datasets as one table, a row for each entrant that was scored on all datasets.

        Returns
        -------
        DataFrame
            Columns ``rank``, ``rank_high``, ``entrant``, ``kind``, ``psnr``, ``gain_over_baseline`` (dB, each with the
            ends ``_low`` and ``_high`` of a 95 % interval for these datasets), ``gain_on_new_dataset_low`` and
            ``gain_on_new_dataset_high`` (dB, the 95 % prediction interval of the gain on a new dataset of this kind,
            around ``gain_over_baseline``), and ``interval_scope``: ``seeds`` if the intervals of PSNR and gain describe
            images and training seeds, ``weights`` if they describe images and these weights, ``images`` if no entrant
            has seeds, and empty without intervals. :mod:`gahbench.board.ranks` defines the intervals. Rows are sorted
            by PSNR, highest first. Empty if fewer than three datasets are scored.
        """
        import pandas as pd

        ends, means = ("", "_low", "_high"), self.means_over_datasets
        rows = [
            {
                **{name: getattr(row, name) for name in ("rank", "rank_high", "entrant", "kind")},
                **{f"psnr{end}": value for end, value in zip(ends, astuple(row.psnr), strict=True)},
                **{f"gain_over_baseline{end}": value for end, value in zip(ends, astuple(row.gain), strict=True)},
                "gain_on_new_dataset_low": row.new_gain.low,
                "gain_on_new_dataset_high": row.new_gain.high,
                "interval_scope": means.interval_scope,
            }
            for row in means.rows
        ]
        return pd.DataFrame(rows).astype({name: "Int64" for name in ("rank", "rank_high") if rows})

    @cached_property
    def optimum_checks(self) -> dict[str, OptimumCheck]:
        """Comparisons with the optimum, by dataset; only for datasets where an entrant is the optimum."""
        if self.selected_from is not None:
            known = self.selected_from.optimum_checks
            return {dataset: known[dataset] for dataset in dataset_names(self) if dataset in known}
        return optimum_checks(self, self.left_out)

    @cached_property
    def transfers(self) -> dict[str, Transfer]:
        """The transfer from drawn to recorded noise, by dataset (:mod:`gahbench.board.transfer`)."""
        return transfers(self)

    @cached_property
    def left_out(self) -> dict[str, dict[str, str]]:
        """Reasons why entrants are left out of comparisons, by dataset (:mod:`gahbench.board.scorecube`)."""
        return left_out_rows(self)

    @cached_property
    def deficit_curves(self) -> dict[str, dict[str, DeficitCurve]]:
        """Distance from the bound against epsilon, by dataset and entrant (:mod:`gahbench.board.rate_curves`)."""
        if self.selected_from is not None:
            return self._restrict(self.selected_from.deficit_curves)
        return deficit_curves(self, self.left_out)

    @cached_property
    def rate_verdicts(self) -> dict[str, dict[str, RateVerdict]]:
        """Whether each entrant reaches the optimal rate, and why, for datasets with the metric ``optimality-slope``."""
        if self.selected_from is not None:
            return self._restrict(self.selected_from.rate_verdicts)
        return judge_rates(self, self.deficit_curves)

    def _restrict(self, complete: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Restrict values by dataset and entrant to the datasets and entrants of these results."""
        shown = dataset_names(self) if any(map(is_optimality_slope, map(str, self.scores["metric"].unique()))) else ()
        facts = {
            dataset: {label: fact for label, fact in complete.get(dataset, {}).items() if label in self.entrants}
            for dataset in shown
        }
        return {dataset: by_entrant for dataset, by_entrant in facts.items() if by_entrant}

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board as one table, a row for each dataset and entrant.

        Parameters
        ----------
        full
            Whether the table has all values at all noise levels with their intervals
            (:func:`gahbench.board.board.wide_table`), instead of a summary.
        """
        return wide_table(self.board) if full else short_table(self.board)

    def figure(self, dataset: str | None = None, metrics: Sequence[str] = ()) -> Figure:
        """Draw a figure of a dataset; a notebook displays it, and ``savefig`` writes it.

        Parameters
        ----------
        dataset
            Label, name or pattern of the dataset; optional if there is only one dataset.
        metrics
            Metrics, or ``metric.part``; each gets a panel. By default the panels of the board: PSNR, the gain over the
            baseline and, if the optimum is known, the deficit from the optimum, against input PSNR.

        Raises
        ------
        GahbenchError
            If ``dataset`` does not select exactly one dataset, or there are no values to draw.
        """
        from gahbench.report.figures import draw_board

        return draw_board(self, self.board, dataset, metrics)

    def merge(self, other: Results, names: tuple[str, str] = ("one", "other")) -> Results:
        """Combine these results with other results; datasets in both must have the same images and noise.

        Parameters
        ----------
        other
            The other results.
        names
            Names of these results and of the other results, appended to the label of an entrant whose scores differ.

        Raises
        ------
        ResultsError
            If the names are equal, or images or noise of a dataset differ (:func:`gahbench.board.combined.combine`).
        """
        if names[0] == names[1]:
            raise ResultsError(f"names={names}: expected two different names")
        return combine(dict(zip(names, (self, other), strict=True)))

    def __repr__(self) -> str:
        scored = f"{len(self.datasets)} datasets, {len(self.entrants)} entrants, {len(self.scores)} scores"
        return f"Results('{self.suite}', {scored})"

    def __str__(self) -> str:
        return f"{self!r}\n{self.leaderboard().to_string(index=False, max_colwidth=60)}"

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
    path = folder / SCORES
    try:
        content = read_regular(path)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); expected the tidy table of scores") from error
    if hashlib.sha256(content).hexdigest() != index.get("scores_sha256"):
        raise ResultsError(f"{path}: damaged, or not written together with {INDEX}, whose checksum differs")
    try:
        scores = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
        tables: dict[str, Any] = {
            name: pd.DataFrame.from_records(index[name]) if index[name] else empty(name)
            for name in SCHEMAS
            if name != "scores"
        }
        return Results(
            index["suite"],
            scores,
            **tables,
            entrants=index["entrants"],
            baseline=index["baseline"],
            version=check_record(SuiteVersion | None, index.get("suite_version"), "the version of the suite"),
            registry=built_in_registry if registry is None else lambda: registry,
        )
    except KeyError as error:
        raise ResultsError(f"{folder / INDEX}: {error} is missing; expected version {VERSION} of the format") from error
    except ResultsError as error:
        raise ResultsError(f"{folder}: {error}") from error
    except Exception as error:
        # pandas and pyarrow raise errors of many types on invalid tables.
        raise ResultsError(f"{folder}: cannot be read as results of gahbench: {error}") from error


def saved_digest(folder: str | os.PathLike[str]) -> str | None:
    """Return the digest of the results in a folder; ``None`` if there are no results, or a file was changed."""
    folder = Path(folder)
    index = index_or_none(folder)
    if index is None or not isinstance(index.get("digest"), str):
        return None
    files = saved_files(index)
    return str(index["digest"]) if all(_is_saved(folder / name, files[name]) for name in files) else None


def saved_board(folder: str | os.PathLike[str]) -> str | None:
    """Return the board that was written with the results; ``None`` if the file is missing or was changed."""
    index = index_or_none(Path(folder))
    digest = None if index is None else saved_files(index).get(BOARD)
    try:
        content = read_regular(Path(folder) / BOARD)
    except OSError:
        return None
    return content.decode() if hashlib.sha256(content).hexdigest() == digest else None


def saved_files(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of the files that were written with results, by name."""
    files = index.get("files")
    if not isinstance(files, dict):
        return {}
    return files if all(is_inside(name) and isinstance(digest, str) for name, digest in files.items()) else {}


def saved_optimum_violations(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return a record for each denoiser on a folder's board that beats the optimum."""
    return list((index_or_none(Path(folder)) or {}).get("optimum_violations", []))


def _is_saved(path: Path, digest: str) -> bool:
    """Return whether a file exists and is unchanged."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def saved_flags(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the reasons why scores on a folder's board are flagged: records of dataset, entrant and flag."""
    return list((index_or_none(Path(folder)) or {}).get("flags", []))


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    expected = "expected the file that gahbench writes"
    try:
        content = read_regular(path)
        index = from_json(content)
    except OSError as error:
        results_folders = sorted(file.parent.name for file in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
        expected_folder = (
            f"a results folder, such as {listing(results_folders)} in it"
            if results_folders
            else "a results folder, written by gahbench"
        )
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); expected {expected_folder}") from error
    except ValueError as error:
        raise ResultsError(f"{path}: not valid JSON ({error}); {expected}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ResultsError(f'{path}: not a file of gahbench; expected "format": "{FORMAT}"')
    if index.get("version") != VERSION:
        raise ResultsError(f"{path}: version {index.get('version')}; this gahbench reads version {VERSION}")
    try:
        return parse_sealed(content)
    except ValueError as error:
        raise ResultsError(f"{path}: damaged, {error}; {expected}") from error


def index_or_none(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``results.json``; ``None`` if it is missing or invalid."""
    try:
        return _index(folder)
    except ResultsError:
        return None
