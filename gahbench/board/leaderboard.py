"""From results to the board: intervals, gains, ranks and failures, for each dataset and entrant.

- PSNR is the mean over seeds and images of the PSNR of each image of the test split; without a noise level
  behind it, it is the mean over noise levels too, which ranks (:mod:`gahbench.board.ranks`).
- Where the optimum is known, it is a row, and others have their distance from it (:mod:`gahbench.board.optimality`).
  Whether they reach its rate is a matter of several sizes of images (:mod:`gahbench.board.rate_verdicts`).
- The slope is fitted to the PSNR over all noise levels of the suite; the optimal slope holds as sigma tends to 0.
- Entrants whose PSNR is unknown at some noise level come after those, unranked, and those that failed come
  last. Where there are too few images, or sources of images, for intervals, no entrant has a rank.
- Entrants that have diverged, or whose seeds differ far more than those of the others, stand in place without a rank,
  and change nothing of the others (:mod:`gahbench.board.scorecube`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gahbench._util.readable import level_name
from gahbench.board.board import CLASHING, RESERVED, Board, Entry, Value
from gahbench.board.facts import (
    NOT_RUN,
    REFUSED,
    TIME_BUDGET,
    cost_of,
    dataset_names,
    entrant_kinds,
    entrants_on,
    is_fitted,
    optimum_of,
)
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import (
    CROSS,
    DISTANCE,
    OPTIMAL_ERROR,
    Distances,
    OptimumCheck,
    check_optimum,
    optimality_values,
)
from gahbench.board.ranks import PRACTICAL_KINDS, rank_intervals, sorted_by_psnr
from gahbench.board.rate_courses import is_of_metric, rate_values
from gahbench.board.rate_verdicts import RateVerdict
from gahbench.board.scorecube import (
    LeftOut,
    ScoreCube,
    joined,
    metric_cubes,
    psnr_cube,
    quotient,
    ratios_of,
    spreads_of,
)
from gahbench.board.statistics import Array, Interval, estimate, estimates, interval
from gahbench.board.tables import rows_of
from gahbench.evaluation.rates import fit_slope, input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.tables import Tables


def make_board(
    results: Tables,
    out: LeftOut,
    checks: Mapping[str, OptimumCheck],
    verdicts: Mapping[str, Mapping[str, RateVerdict]],
) -> Board:
    """Return the board of a suite's results, with all datasets and entrants that have results."""
    entries: list[Entry] = []
    values: list[Value] = []
    kinds = entrant_kinds(results)
    cubes = {dataset: psnr_cube(results, dataset, out) for dataset in dataset_names(results)}
    spreads, others = spreads_of(cubes), metric_cubes(results, out)
    for dataset, cube in cubes.items():
        check, measured = checks.get(dataset), None
        if cube.entrants:
            at = cube.entrants.index(results.baseline) if results.baseline in cube.entrants else None
            measured = _Measured(dataset, cube, cube.means(), cube.draws(spreads), at)
            values += measured.values()
            if check is not None:
                values += optimality_values(dataset, cube, kinds, _distances(dataset, cube, others), check, spreads)
        entries += _entries(results, dataset, cube, check, measured)
    values += _other_means(results, others)
    values += rate_values(verdicts)
    return Board(results.suite, entries, values)


def _distances(dataset: str, cube: ScoreCube, others: Mapping[str, Mapping[str, ScoreCube]]) -> Distances:
    return Distances.of(cube, {name: cubes[dataset] for name, cubes in others.items() if dataset in cubes})


#: Entrants are noted as worse than the noisy images beyond this difference, in dB.
MIN_LOSS = 0.01


@dataclass(frozen=True)
class _Measured:
    """PSNR of E entrants at S noise levels, with D bootstrap draws: (E, S) and (D, E, S)."""

    dataset: str
    cube: ScoreCube
    levels: Array
    draws: Array
    baseline: int | None

    @property
    def psnr(self) -> Array:
        """Mean PSNR over noise levels, shape (E,)."""
        return np.asarray(self.levels.mean(axis=1))

    @property
    def has_interval(self) -> NDArray[np.bool_]:
        """Whether the mean PSNR over noise levels has an interval, by which it can be ranked, shape (E,)."""
        return np.asarray(np.isfinite(self.draws).all(axis=(0, 2)))

    def values(self) -> Iterator[Value]:
        """Yield PSNR, gains and slope of every entrant: over all noise levels and at each."""
        sigmas = self.cube.sigmas
        noisy = input_psnr(sigmas)
        for index, label in enumerate(self.cube.entrants):
            levels, draws = self.levels[index], self.draws[:, index]
            for place in (None, *range(len(sigmas))):
                sigma = None if place is None else sigmas[place]
                psnr = _at(place, levels, draws)
                gain = psnr.value - float(noisy.mean() if place is None else noisy[place])
                yield Value(self.dataset, label, "psnr", "", sigma, psnr)
                yield Value(self.dataset, label, "gain_over_noisy", "", sigma, Interval(gain))
                if self.baseline is not None:
                    paired = self.difference(index, self.baseline, place)
                    yield Value(self.dataset, label, "gain_over_baseline", "", sigma, paired)
            if len(sigmas) > 1:
                slope = estimate(fit_slope(noisy, levels), fit_slope(noisy, draws))
                yield Value(self.dataset, label, "slope", "", None, slope)

    def worse_than_noisy(self, label: str) -> list[float]:
        """Return the noise levels at which the PSNR of an entrant is below that of the noisy images, beyond chance."""
        if label not in self.cube.entrants:
            return []
        at = self.cube.entrants.index(label)
        _, high = interval(self.draws[:, at])
        noisy = input_psnr(self.cube.sigmas)
        ends = np.where(np.isnan(high), self.levels[at], high)
        return [self.cube.sigmas[place] for place in np.flatnonzero(ends < noisy - MIN_LOSS)]

    def difference(self, index: int, other: int, place: int | None = None) -> Interval:
        """Return the paired difference of two entrants and its interval, at one level or over all."""
        return _at(place, self.levels[index] - self.levels[other], self.draws[:, index] - self.draws[:, other])


def _at(place: int | None, levels: Array, draws: Array) -> Interval:
    """Return the estimate at one of S noise levels, or the mean over all, of values (S,) with draws (D, S)."""
    return estimate(levels.mean(), draws.mean(axis=1)) if place is None else estimate(levels[place], draws[:, place])


def optimum_checks(results: Tables, out: LeftOut) -> dict[str, OptimumCheck]:
    """Compare the denoisers of each dataset with its optimum, where a row is its optimum."""
    kinds, others = entrant_kinds(results), metric_cubes(results, out, (DISTANCE, OPTIMAL_ERROR, CROSS))
    cubes = {dataset: psnr_cube(results, dataset, out) for dataset in dataset_names(results)}
    checks = {name: check_optimum(cube, kinds, _distances(name, cube, others)) for name, cube in cubes.items()}
    return {dataset: check for dataset, check in checks.items() if check is not None}


def _entries(
    results: Tables, dataset: str, cube: ScoreCube, check: OptimumCheck | None, measured: _Measured | None
) -> Iterator[Entry]:
    """Yield the facts of every entrant of a dataset, in the order of the board."""
    kinds = entrant_kinds(results)
    order: list[str] = []
    ranks: dict[str, tuple[int, int]] = {}
    if measured is not None:
        order = sorted_by_psnr(cube.entrants, measured.psnr)
        at = {label: index for index, label in enumerate(cube.entrants)}
        ranked = [
            label
            for label in order
            if kinds.get(label) in PRACTICAL_KINDS and measured.has_interval[at[label]] and label not in cube.left_out
        ]
        chosen = [at[label] for label in ranked]
        ends = rank_intervals(measured.psnr[chosen], measured.draws[:, chosen].mean(axis=2))
        ranks = {label: (int(low), int(high)) for label, low, high in zip(ranked, *ends, strict=True)}
    known = entrants_on(results, dataset)
    order += [label for label in results.entrants if label in known and label not in order]
    optimum, slope = optimum_of(results, dataset)
    for label in order:
        rank, rank_high = ranks.get(label, (None, None))
        parameters, seconds = cost_of(results, dataset, label)
        counted = len(cube.seeds.get(label, []))
        marks = _marks(results, dataset, label, check)
        note = _notes(results, dataset, label, cube)
        if measured is not None and (worse := measured.worse_than_noisy(label)):
            levels = ", ".join(map(level_name, worse))
            note = "; ".join(filter(None, [f"worse than the noisy images at σ = {levels}", note]))
        note = "; ".join(filter(None, [cube.left_out.get(label), note]))
        yield Entry(
            dataset,
            label,
            kinds.get(label, ""),
            rank,
            rank_high,
            optimum,
            slope,
            parameters,
            seconds,
            counted if counted or is_fitted(results, dataset, label) else None,
            "; ".join(filter(None, [*(f"flagged: {mark}" for mark in marks), note])),
            marks,
        )


def _notes(results: Tables, dataset: str, entrant: str, cube: ScoreCube) -> str:
    """Return the note on an entrant of a dataset: parts joined by ``; ``, empty if there is nothing to say."""
    fits, failures = (rows_of(table, dataset, entrant) for table in (results.fits, results.failures))
    tried = {int(seed) for table in (fits, failures) for seed in table["seed"].dropna()}
    counted = cube.seeds.get(entrant, [])
    tried |= set(cube.scored.get(entrant, []))

    parts = []
    if counted and len(counted) < len(tried):
        parts.append(f"{len(counted)} of {len(tried)} seeds")
    if entrant in cube.problems:
        parts.append(f"PSNR: {cube.problems[entrant]}")
    parts += _failures(failures, len(tried))
    own = rows_of(results.notes, dataset, entrant)["note"].tolist()
    if failures.empty and entrant not in cube.entrants and not any(note.startswith(REFUSED) for note in own):
        parts.append("not scored")
    if (fits["budget"] == "seconds").any():
        parts.append(TIME_BUDGET)
    parts += own
    return "; ".join(parts)


def _marks(results: Tables, dataset: str, entrant: str, check: OptimumCheck | None) -> tuple[str, ...]:
    """Return why the scores of an entrant on a dataset are flagged."""
    found = rows_of(results.marks, dataset, entrant)["mark"].tolist()
    beyond = [one for one in check.beyond if one.entrant == entrant] if check else []
    if check is not None and beyond:
        levels = ", ".join(f"{level_name(one.sigma)} ({one.standard_errors:.1f})" for one in beyond)
        found.append(f"beats {check.optimum}, which cannot be, at σ = {levels} (by so many standard errors)")
    return tuple(found)


def _failures(failures: pd.DataFrame, tried: int) -> list[str]:
    """Return a part for every different error of a stage, naming its metrics, and its seeds if not all failed."""
    metrics: dict[tuple[str, str], list[str]] = {}
    seeds: dict[tuple[str, str], set[int]] = {}
    columns = (failures[name] for name in ("stage", "metric", "error", "seed"))
    for stage, metric, error, seed in zip(*columns, strict=True):
        named = metrics.setdefault((stage, error), [])
        if metric and metric not in named:
            named.append(metric)
        if isinstance(seed, Integral):
            seeds.setdefault((stage, error), set()).add(int(seed))
    parts = []
    for (stage, error), named in metrics.items():
        those = sorted(seeds.get((stage, error), ()))
        if stage == "score" and error == NOT_RUN and those and seeds.get(("fit", NOT_RUN), set()) >= set(those):
            continue  # its scores fail as well: one note is enough
        which = f"seed{'s' if len(those) > 1 else ''} {', '.join(map(str, those))}: "
        what = " ".join([stage, *([", ".join(named)] if named else [])])
        verb = "" if error == NOT_RUN else "failed: "
        parts.append(f"{which if 0 < len(those) < tried else ''}{what} {verb}{error}")
    return parts


def _other_means(results: Tables, others: Mapping[str, Mapping[str, ScoreCube]]) -> Iterator[Value]:
    """Yield the means over seeds and images of the other metrics, and ratios of such means, with intervals."""
    for metric, cubes in others.items():
        if metric in (DISTANCE, OPTIMAL_ERROR, CROSS) or is_of_metric(metric):
            continue
        spreads = spreads_of(cubes)
        for dataset, cube in cubes.items():
            yield from _values(dataset, metric, cube, cube.means(), cube.draws(spreads))
    for ratio in ratios_of(results):
        numerators, denominators = (others.get(name, {}) for name in (ratio.numerator, ratio.denominator))
        both = {name: joined(cube, denominators[name]) for name, cube in numerators.items() if name in denominators}
        spreads = spreads_of(both)
        for dataset, cube in both.items():
            middle, drawn = quotient(cube.means()), quotient(cube.draws(spreads))
            yield from _values(dataset, ratio.metric, numerators[dataset], middle, drawn)


def _values(dataset: str, metric: str, cube: ScoreCube, middle: Array, drawn: Array) -> Iterator[Value]:
    """Yield values (E, S) with draws (D, E, S), at each noise level and over all."""
    named = parse_metric_name(metric)
    # A metric must not be confused with the board's own values.
    label = f"{CLASHING}{named.label}" if named.label in RESERVED else named.label
    columns = {
        None if np.isnan(sigma) else sigma: (middle[:, at], drawn[:, :, at]) for at, sigma in enumerate(cube.sigmas)
    }
    if None not in columns:
        columns = {None: (middle.mean(1), drawn.mean(2)), **columns}
    for sigma, (mean, draw) in columns.items():
        for entrant, found in zip(cube.entrants, estimates(mean, draw), strict=True):
            yield Value(dataset, entrant, label, named.part, sigma, found)
