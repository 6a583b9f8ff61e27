"""The board: one row for each dataset and entrant, with intervals, gains, ranks and what went wrong.

Rules
-----
- PSNR is the mean over seeds and images of the PSNR of each image of the test split; without a noise level
  behind it, it is the mean over noise levels too, and that is what ranks.
- Only what could be used in practice has a rank: kinds ``trained`` and ``classical``. Oracles, which see
  the clean image, optimal denoisers, which know the distribution, and bounds, stand in place, by PSNR,
  without one.
- Ties: going down the ranked entrants, the first opens a tie group. The next one joins it unless the 95 %
  interval of its paired difference from the *first of the group* lies wholly above 0; then it opens the
  next group. A group shares the rank of its first, and the ranks that it uses up are skipped (1, 1, 3).
  Where there is no interval (one test image) only equal means tie.
- Where a row stands for the optimum, others have their distance from it (:mod:`gahbench.board.optimality`).
- The slope is fitted over all noise levels of the suite; the optimal slope holds as sigma tends to 0.
- Entrants whose PSNR is unknown at some noise level come after those, unranked, and those that failed come
  last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gahbench.board.notes import notes_of
from gahbench.board.optimality import PRACTICAL_KINDS, OptimumCheck, check_optimum, optimality_columns
from gahbench.board.scorecube import ScoreCube, score_cube
from gahbench.board.statistics import DRAWS, bootstrap_means, interval, means
from gahbench.evaluation.rates import fit_slope, input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

_TOLERANCE = 1e-9  # dB: below this a difference is rounding
_HEAD = ("suite", "dataset", "rank", "tie_group", "entrant", "kind")
_PSNR = ("psnr", "psnr_low", "psnr_high", "gain_over_noisy")
_GAIN = ("gain_over_baseline", "gain_over_baseline_low", "gain_over_baseline_high")
_DEFICIT = ("deficit", "deficit_low", "deficit_high", "deficit_min", "deficit_min_low", "deficit_min_high")
_KL = ("kl", "kl_low", "kl_high", "kl_min", "kl_min_low", "kl_min_high")
_REST = (
    "slope",
    "slope_low",
    "slope_high",
    "optimal_slope",
    "optimum",
    "parameters",
    "train_seconds",
    "seeds",
)
_COUNTS = ("rank", "tie_group", "parameters", "seeds")
_TEXTS = ("suite", "dataset", "entrant", "kind", "optimum", "note")
_RESERVED = {*_HEAD, *_PSNR, *_GAIN, *_DEFICIT, *_KL, *_REST, "note"}


def leaderboard(results: Results, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Return the board of a suite's results.

    Parameters
    ----------
    results
        The results; rows of splits other than ``test`` play no part.
    draws, seed
        Of the bootstrap (:mod:`gahbench.board.statistics`).

    Returns
    -------
    DataFrame
        A row for each dataset and entrant of which anything is known, in the order of the board, with
        columns ``suite, dataset, rank, tie_group, entrant, kind``; over all noise levels ``psnr`` (dB, with
        ``psnr_low`` and ``psnr_high``, the 95 % interval), ``gain_over_noisy``, ``gain_over_baseline``
        (paired; ``_low``, ``_high``); ``deficit`` from the optimum (dB) and the bound ``kl`` (nats per pixel
        and channel), with ``_low``, ``_high``, and for a bracket ``deficit_min`` and ``kl_min``, the
        other end; ``slope`` (dB per dB; ``_low``, ``_high``), ``optimal_slope``,
        ``optimum``; ``parameters``, ``train_seconds`` (mean over seeds), ``seeds`` (how many count); for
        every noise level such as 0.06 ``psnr@0.06``, ``psnr@0.06_low``, ``psnr@0.06_high``,
        ``gain_over_noisy@0.06``, ``gain_over_baseline@0.06``, ``deficit@0.06``, ``deficit_min@0.06`` (each
        with ``_low``, ``_high``); means of every other metric and of its parts, such as ``ssim@0.06``, and over all
        noise levels ``ssim``, or ``rate`` where it has no noise level (each with ``_low``, ``_high``); ``note``. NaN
        where unknown.

    Raises
    ------
    ResultsError
        If two rows of scores give the same value.
    """
    import pandas as pd

    rows = [row for dataset in dataset_names(results) for row in _dataset_rows(results, dataset, draws, seed)]
    columns = _columns(results, rows)
    board = pd.DataFrame(rows, columns=pd.Index(columns))
    kinds = dict.fromkeys(columns, "float64")
    kinds |= dict.fromkeys(_COUNTS, "Int64")
    board = board.astype({name: kind for name, kind in kinds.items() if name not in _TEXTS})
    return board.astype(dict.fromkeys(_TEXTS, "str"))


def dataset_names(results: Results) -> list[str]:
    """Return the datasets of which anything is known, in the order of the results."""
    tables = (results.datasets, results.scores, results.fits, results.failures)
    return list(dict.fromkeys(str(name) for table in tables for name in table["dataset"].unique()))


def level_name(sigma: float) -> str:
    """Write a noise level as column names do: short, and never two levels alike."""
    short = f"{sigma:g}"
    return short if float(short) == sigma else repr(float(sigma))


def noise_levels(board: pd.DataFrame) -> list[float]:
    """Return the noise levels at which a board, or a dataset's part of it, holds a PSNR, ascending."""
    names = [name.partition("@")[2] for name in board.columns if name.startswith("psnr@")]
    levels = [name for name in names if not name.endswith(("_low", "_high"))]
    return [float(name) for name in levels if board[f"psnr@{name}"].notna().any()]


def other_columns(names: Sequence[str]) -> list[str]:
    """Return which columns of a board hold values of metrics other than the PSNR, without the ends of intervals."""
    there, found = set(names), list(names[names.index("seeds") + 1 : names.index("note")])
    others = [name for name in found if not name.startswith(("psnr@", "gain_over_", "deficit@", "deficit_min@"))]
    return [name for name in others if not (_end(name) and name.removesuffix(_end(name)) in there)]


def _dataset_rows(results: Results, dataset: str, draws: int, seed: int) -> list[dict[str, Any]]:
    scores = results.scores
    scores = scores[(scores["dataset"] == dataset) & (scores["split"] == "test")]
    cube = psnr_cube(results, dataset)
    kinds = entrant_kinds(results)
    columns: dict[str, dict[str, Any]] = {label: {} for label in results.entrants}
    order: list[str] = []
    groups: dict[str, tuple[int, int]] = {}
    check = check_optimum(cube, kinds)
    if cube.entrants:
        measured = _Measured.of(cube, results.baseline, draws, seed)
        for index, label in enumerate(cube.entrants):
            columns[label] = measured.row(index)
        order = _sorted_by_psnr(cube.entrants, measured.psnr)
        names = list(map(level_name, cube.sigmas))
        for label, extra in optimality_columns(cube, kinds, check, names, draws, seed).items():
            columns[label] |= extra
        groups = _tie_groups([label for label in order if kinds.get(label) in PRACTICAL_KINDS], measured)
    for label, extra in _other_means(scores, results.entrants, draws, seed).items():
        columns[label] |= extra
    known = _known(results, dataset)
    order += [label for label in results.entrants if label in known and label not in order]
    rows = []
    for label in order:
        rank, group = groups.get(label, (None, None))
        head = {
            "suite": results.suite,
            "dataset": dataset,
            "rank": rank,
            "tie_group": group,
            "entrant": label,
        }
        counted = len(cube.seeds.get(label, []))
        rest = {"kind": kinds.get(label, ""), **_optimum(results, dataset), **_cost(results, dataset, label)}
        rest["seeds"] = counted if counted or _is_fitted(results, dataset, label) else None
        note = "; ".join(filter(None, [notes_of(results, dataset, label, cube), _beyond(check, label)]))
        rows.append(head | columns[label] | rest | {"note": note})
    return rows


def psnr_cube(results: Results, dataset: str) -> ScoreCube:
    """Return the PSNR of a dataset's test images as a dense array."""
    scores = results.scores
    chosen = (scores["dataset"] == dataset) & (scores["split"] == "test") & (scores["metric"] == "psnr")
    return score_cube(scores[chosen & scores["sigma"].notna()], results.entrants)


@dataclass(frozen=True)
class _Measured:
    """PSNR of E entrants at S noise levels, with D bootstrap draws: (E, S) and (D, E, S)."""

    cube: ScoreCube
    levels: NDArray[np.float64]
    draws: NDArray[np.float64]
    baseline: int | None

    @classmethod
    def of(cls, cube: ScoreCube, baseline: str | None, draws: int, seed: int) -> _Measured:
        at = cube.entrants.index(baseline) if baseline in cube.entrants else None
        return cls(cube, means(cube.values), bootstrap_means(cube.values, draws, seed), at)

    @property
    def psnr(self) -> NDArray[np.float64]:
        """Mean PSNR over noise levels, shape (E,)."""
        return np.asarray(self.levels.mean(axis=1))

    def row(self, index: int) -> dict[str, float]:
        """Return the columns of one entrant."""
        sigmas = self.cube.sigmas
        noisy = input_psnr(sigmas)
        levels, draws = self.levels[index], self.draws[:, index]
        row = self._columns("", levels.mean(), draws.mean(axis=1), noisy.mean(), index)
        for at, sigma in enumerate(sigmas):
            row |= self._columns(f"@{level_name(sigma)}", levels[at], draws[:, at], noisy[at], index, at)
        if len(sigmas) > 1:
            low, high = interval(fit_slope(noisy, draws))
            row |= {
                "slope": float(fit_slope(noisy, levels)),
                "slope_low": float(low),
                "slope_high": float(high),
            }
        return row

    def _columns(
        self,
        level: str,
        psnr: float,
        draws: NDArray[np.float64],
        noisy: float,
        index: int,
        at: int | None = None,
    ) -> dict[str, float]:
        low, high = interval(draws)
        values = [psnr, float(low), float(high), psnr - noisy]
        names = [f"psnr{level}", f"psnr{level}_low", f"psnr{level}_high", f"gain_over_noisy{level}"]
        if self.baseline is not None:
            values += self.difference(index, self.baseline, at)
            names += [f"gain_over_baseline{level}{end}" for end in ("", "_low", "_high")]
        return {name: float(value) for name, value in zip(names, values, strict=True)}

    def difference(self, index: int, other: int, at: int | None = None) -> list[float]:
        """Return the paired difference of two entrants and its interval, at one level or over all."""
        mean, draws = self.levels[index] - self.levels[other], self.draws[:, index] - self.draws[:, other]
        low, high = interval(draws.mean(axis=1) if at is None else draws[:, at])
        return [float(mean.mean() if at is None else mean[at]), float(low), float(high)]


def _sorted_by_psnr(labels: list[str], psnr: NDArray[np.float64]) -> list[str]:
    """Sort by PSNR, highest first, unknown last; equals stay in the order of the suite."""
    keys = np.where(np.isnan(psnr), np.inf, -psnr)
    return [labels[index] for index in np.argsort(keys, kind="stable")]


def _tie_groups(ranked: list[str], measured: _Measured) -> dict[str, tuple[int, int]]:
    """Return rank and tie group of entrants in the order of their PSNR; none for unknown PSNR."""
    at = {label: index for index, label in enumerate(measured.cube.entrants)}
    groups: dict[str, tuple[int, int]] = {}
    first, rank, group = None, 0, 0
    for place, label in enumerate(ranked, start=1):
        if np.isnan(measured.psnr[at[label]]):
            break
        if first is None or _separate(measured.difference(at[first], at[label])):
            first, rank, group = label, place, group + 1
        groups[label] = (rank, group)
    return groups


def optimum_check(results: Results, dataset: str) -> OptimumCheck | None:
    """Compare the denoisers of a dataset with its optimum; ``None`` if no row stands for it."""
    return check_optimum(psnr_cube(results, dataset), entrant_kinds(results))


def _beyond(check: OptimumCheck | None, entrant: str) -> str:
    """Return the part of a note that says where an entrant is better than can be."""
    places = [found for found in check.beyond if found.entrant == entrant] if check else []
    if check is None or not places:
        return ""
    levels = ", ".join(f"{level_name(found.sigma)} ({found.standard_errors:.1f})" for found in places)
    return f"beats {check.optimum}, which cannot be, at σ = {levels} (by so many standard errors)"


def _separate(difference: list[float]) -> bool:
    mean, low, _ = difference
    return (mean if np.isnan(low) else low) > _TOLERANCE


def _other_means(scores: pd.DataFrame, entrants: list[str], draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the means over seeds and images of the other metrics, with intervals, by entrant and column.

    At every noise level, and over those at which anyone has a value; an entrant that lacks one of these has no mean
    over all. The slope is fitted here, whether or not it is among the metrics.
    """
    found: dict[str, dict[str, float]] = {}
    others = scores[~scores["metric"].isin(("psnr", "slope"))]
    for metric in sorted(str(name) for name in others["metric"].unique()):
        rows = others[others["metric"] == metric]
        cube = score_cube(rows, entrants)
        middle, drawn = means(cube.values), bootstrap_means(cube.values, draws, seed)
        # A metric that is named like a column of ours must not overwrite it.
        stem = f"metric {metric}" if metric in _RESERVED else metric
        names = [f"{stem}{'' if np.isnan(sigma) else f'@{level_name(sigma)}'}" for sigma in cube.sigmas]
        columns = {name: (middle[:, place], drawn[:, :, place]) for place, name in enumerate(names)}
        if stem not in columns:
            columns = {stem: (middle.mean(1), drawn.mean(2)), **columns}
        for name, (mean, draw) in columns.items():
            low, high = interval(draw)
            for index, label in enumerate(cube.entrants):
                of = {name: mean[index], f"{name}_low": low[index], f"{name}_high": high[index]}
                found.setdefault(label, {}).update({column: float(value) for column, value in of.items()})
    return found


def entrant_kinds(results: Results) -> dict[str, str]:
    """Return the kind of every entrant, as far as scores or training tell."""
    rows = results.scores[["entrant", "kind"]].drop_duplicates()
    kinds = dict.fromkeys(results.fits["entrant"], "trained")
    failures = results.failures
    kinds |= dict.fromkeys(failures.loc[failures["stage"] == "fit", "entrant"], "trained")
    return kinds | dict(zip(rows["entrant"], rows["kind"], strict=True))


def _is_fitted(results: Results, dataset: str, entrant: str) -> bool:
    """Return whether an entrant was trained by the suite, or was to be; weights from elsewhere have no seed."""
    tables = (results.fits, results.failures[results.failures["stage"] == "fit"])
    return any(
        table.loc[(table["dataset"] == dataset) & (table["entrant"] == entrant), "seed"].notna().any()
        for table in tables
    )


def _known(results: Results, dataset: str) -> set[str]:
    tables = (results.scores, results.fits, results.failures)
    return {label for table in tables for label in table.loc[table["dataset"] == dataset, "entrant"].unique()}


def _optimum(results: Results, dataset: str) -> dict[str, Any]:
    rows = results.datasets[results.datasets["dataset"] == dataset]
    if rows.empty:
        return {"optimum": "none"}
    return {"optimum": str(rows["optimum"].iloc[0]), "optimal_slope": float(rows["slope"].iloc[0])}


def _cost(results: Results, dataset: str, entrant: str) -> dict[str, Any]:
    rows = results.fits[(results.fits["dataset"] == dataset) & (results.fits["entrant"] == entrant)]
    if rows.empty:
        return {}
    return {
        "parameters": int(rows["parameters"].iloc[0]),
        "train_seconds": float(rows["train_seconds"].mean()),
    }


def _columns(results: Results, rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns of the board in an order that depends on the results' content alone."""
    psnr = results.scores[(results.scores["metric"] == "psnr") & (results.scores["split"] == "test")]
    levels = [level_name(sigma) for sigma in sorted(psnr["sigma"].dropna().unique())]
    columns = [*_HEAD, *_PSNR, *_GAIN, *_DEFICIT, *_KL, *_REST]
    for level in levels:
        for name in (*_PSNR, *_GAIN, *_DEFICIT):
            stem, end = (name[: -len(end)], end) if (end := _end(name)) else (name, "")
            columns.append(f"{stem}@{level}{end}")
    others = {name for row in rows for name in row} - {*columns, "note"}
    return [*columns, *sorted(others, key=_metric_and_level), "note"]


def _end(name: str) -> str:
    return next((end for end in ("_low", "_high") if name.endswith(end)), "")


def _metric_and_level(name: str) -> tuple[str, float, str]:
    """Return what other columns are sorted by: the metric, its noise level, if any, and the end of the interval."""
    end = _end(name)
    stem = name.removesuffix(end)
    metric, _, level = stem.rpartition("@")
    return (metric, float(level), end) if metric else (stem, -1.0, end)
