"""Computation of the board from results: intervals, gains, ranks and failures of each dataset and entrant.

- PSNR is the mean, over seeds and test images, of the PSNR of each image. A PSNR without a noise level is also the mean
  over noise levels, by which entrants are ranked (:mod:`gahbench.board.ranks`).
- If the optimum is known, it has a row, and the other rows have their distance from it
  (:mod:`gahbench.board.optimality`). Whether entrants reach the optimal rate is decided over several sizes of images
  (:mod:`gahbench.board.rate_verdicts`).
- The slope is fitted to the PSNR over all noise levels of the suite; the optimal slope holds as sigma tends to 0.
- Entrants whose PSNR is unknown at any noise level follow the ranked entrants without a rank, and entrants that failed
  come last. If there are too few images for intervals, no entrant has a rank. If there are only too few sources of
  images, intervals and ranks describe these sources, over their images, and the PSNR of each source is listed.
- Entrants that have diverged, or whose seeds differ far more than those of the others, keep their place in the order
  but have no rank, and do not affect other rows (:mod:`gahbench.board.scorecube`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from gahbench._util.readable import level_name
from gahbench.board.alignments import CEILING, reachable
from gahbench.board.board import CLASHING, RESERVED, SOURCE, Board, Entry, Value
from gahbench.board.facts import (
    NOT_RUN,
    REFUSED,
    TIME_BUDGET,
    cost_of,
    dataset_names,
    entrant_kinds,
    entrants_on,
    is_fitted,
    noise_of,
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
from gahbench.board.ranks import (
    PRACTICAL_KINDS,
    compared_pairs,
    knows_seeds,
    rank_intervals,
    sorted_by_psnr,
    trained_in_runs,
)
from gahbench.board.rate_curves import is_optimality_slope, rate_values
from gahbench.board.rate_verdicts import RateVerdict
from gahbench.board.scorecube import (
    LeftOut,
    ScoreCube,
    join_levels,
    metric_cubes,
    psnr_cube,
    ratios_of,
    sampled_quotient,
    spreads_of,
)
from gahbench.board.statistics import Array, Interval, IntervalScale, SampledMeans, means
from gahbench.board.tables import rows_of
from gahbench.evaluation.rates import fit_slope, input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.tables import Tables


def make_board(
    results: Tables,
    left_out: LeftOut,
    checks: Mapping[str, OptimumCheck],
    verdicts: Mapping[str, Mapping[str, RateVerdict]],
) -> Board:
    """Build the board of a suite's results, with all datasets and entrants that have results."""
    entries: list[Entry] = []
    values: list[Value] = []
    kinds = entrant_kinds(results)
    cubes = {dataset: psnr_cube(results, dataset, left_out) for dataset in dataset_names(results)}
    spreads, other_cubes = spreads_of(cubes), metric_cubes(results, left_out)
    for dataset, cube in cubes.items():
        check, measured = checks.get(dataset), None
        if cube.entrants:
            baseline_index = cube.entrants.index(results.baseline) if results.baseline in cube.entrants else None
            measured = _Measured(dataset, cube, cube.sampled(spreads), baseline_index)
            values += measured.values()
            if check is not None:
                values += optimality_values(
                    dataset,
                    cube,
                    kinds,
                    _distances(dataset, cube, other_cubes),
                    check,
                    spreads,
                    not noise_of(results, dataset),
                )
        entries += _entries(results, dataset, cube, check, measured)
    values += _metric_values(results, other_cubes)
    values += rate_values(verdicts)
    return Board(results.suite, entries, values)


def _distances(dataset: str, cube: ScoreCube, other_cubes: Mapping[str, Mapping[str, ScoreCube]]) -> Distances:
    return Distances.from_cubes(cube, {name: cubes[dataset] for name, cubes in other_cubes.items() if dataset in cubes})


#: The note on entrants that are worse than the noisy images is shown for differences above this, in dB.
MIN_LOSS = 0.01


@dataclass(frozen=True, eq=False)
class _Measured:
    """PSNR of E entrants at S noise levels, shape (E, S), with its samples."""

    dataset: str
    cube: ScoreCube
    sample: SampledMeans
    baseline: int | None

    @property
    def psnr(self) -> Array:
        """Mean PSNR over noise levels, shape (E,)."""
        return np.asarray(self.sample.values.mean(axis=1))

    @cached_property
    def draws(self) -> Array:
        """Joint draws of the mean PSNR over noise levels, shape (D, E); NaN without an interval, which ranks need."""
        return self.sample.apply(lambda array: array.mean(axis=-1)).draws()

    def values(self) -> Iterator[Value]:
        """Yield PSNR and gains of every entrant, over all noise levels and at each, and the slope."""
        sigmas = self.cube.sigmas
        noisy = input_psnr(sigmas)
        yield from self._values("psnr", self.sample)
        for sigma, noisy_psnr in (None, noisy.mean()), *zip(sigmas, noisy, strict=True):
            level = slice(None) if sigma is None else slice(sigmas.index(sigma), sigmas.index(sigma) + 1)
            for label, psnr in zip(self.cube.entrants, self.sample.values[:, level].mean(axis=1), strict=True):
                yield Value(self.dataset, label, "gain_over_noisy", "", sigma, Interval(float(psnr - noisy_psnr)))
        if self.cube.is_fixed_set:
            yield from self._source_values()
        if self.baseline is not None:
            chosen = [self.baseline]
            gains = self.sample.apply(lambda array: array - array[..., chosen, :])
            yield from self._values("gain_over_baseline", gains)
        if len(sigmas) > 1:
            slopes = self.sample.apply(lambda array: fit_slope(noisy, array)).intervals()
            for label, slope in zip(self.cube.entrants, slopes, strict=True):
                yield Value(self.dataset, label, "slope", "", None, slope)

    def _source_values(self) -> Iterator[Value]:
        """Yield the mean PSNR over noise levels on the images of each source."""
        sources = np.asarray(self.cube.sources)
        for number, source in enumerate(dict.fromkeys(sources)):
            by_entrant = means(self.cube.values[..., sources == source]).mean(axis=1)
            for label, psnr in zip(self.cube.entrants, by_entrant, strict=True):
                yield Value(self.dataset, label, "psnr", f"{SOURCE}{number + 1}", None, Interval(float(psnr)))

    def _values(self, name: str, sample: SampledMeans) -> Iterator[Value]:
        for sigma, estimates in intervals_by_level(self.cube.sigmas, sample):
            for label, value in zip(self.cube.entrants, estimates, strict=True):
                yield Value(self.dataset, label, name, "", sigma, value)

    def worse_than_noisy(self, label: str) -> list[float]:
        """Return the noise levels at which an entrant's PSNR is significantly below the PSNR of the noisy images."""
        if label not in self.cube.entrants:
            return []
        index = self.cube.entrants.index(label)
        high = self._upper_ends[index]
        noisy = input_psnr(self.cube.sigmas)
        upper_ends = np.where(np.isnan(high), self.sample.values[index], high)
        return [self.cube.sigmas[level] for level in np.flatnonzero(upper_ends < noisy - MIN_LOSS)]

    @cached_property
    def _upper_ends(self) -> Array:
        return self.sample.ends()[1]


def intervals_by_level(
    sigmas: Sequence[float], sample: SampledMeans, scale: IntervalScale = "linear"
) -> Iterator[tuple[float | None, list[Interval]]]:
    """Yield the means (E, S) of all entrants over noise levels, if there are any, and at each noise level."""
    levels: list[float | None] = [None if np.isnan(sigma) else sigma for sigma in sigmas]
    if None not in levels:
        yield None, sample.apply(lambda array: array.mean(axis=-1)).intervals(scale)
    low, high = sample.ends(scale)
    for index, level in enumerate(levels):
        columns = (sample.values[:, index], low[:, index], high[:, index])
        yield level, [Interval(*map(float, row)) for row in zip(*columns, strict=True)]


def optimum_checks(results: Tables, left_out: LeftOut) -> dict[str, OptimumCheck]:
    """Compare the denoisers of each dataset with its optimum; datasets without a row for the optimum are skipped."""
    kinds, other_cubes = entrant_kinds(results), metric_cubes(results, left_out, (DISTANCE, OPTIMAL_ERROR, CROSS))
    cubes = {dataset: psnr_cube(results, dataset, left_out) for dataset in dataset_names(results)}
    checks = {name: check_optimum(cube, kinds, _distances(name, cube, other_cubes)) for name, cube in cubes.items()}
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
        indices = {label: index for index, label in enumerate(cube.entrants)}
        ranked = [
            label
            for label in order
            if kinds.get(label) in PRACTICAL_KINDS
            and np.isfinite(measured.draws[:, indices[label]]).all()
            and label not in cube.left_out
        ]
        ranked_indices = [indices[label] for label in ranked]
        trained = trained_in_runs(cube, kinds)
        is_compared = compared_pairs([label in trained for label in ranked], knows_seeds(cube, trained))
        rank_ends = rank_intervals(measured.psnr[ranked_indices], measured.draws[:, ranked_indices], is_compared)
        ranks = {label: (int(low), int(high)) for label, low, high in zip(ranked, *rank_ends, strict=True)}
    present_entrants = entrants_on(results, dataset)
    order += [label for label in results.entrants if label in present_entrants and label not in order]
    optimum, slope = optimum_of(results, dataset)
    for label in order:
        rank, rank_high = ranks.get(label, (None, None))
        cost = cost_of(results, dataset, label)
        seed_count = len(cube.seeds.get(label, []))
        flags = _flags(results, dataset, label, check)
        note = _notes(results, dataset, label, cube)
        if measured is not None and (worse_sigmas := measured.worse_than_noisy(label)):
            levels = ", ".join(map(level_name, worse_sigmas))
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
            cost,
            seed_count if seed_count or is_fitted(results, dataset, label) else None,
            "; ".join(filter(None, [*(f"flagged: {flag}" for flag in flags), note])),
            flags,
        )


def _notes(results: Tables, dataset: str, entrant: str, cube: ScoreCube) -> str:
    """Return the note on an entrant of a dataset: parts joined by ``; ``, or an empty string."""
    fits, failures = (rows_of(table, dataset, entrant) for table in (results.fits, results.failures))
    tried_seeds = {int(seed) for table in (fits, failures) for seed in table["seed"].dropna()}
    counted_seeds = cube.seeds.get(entrant, [])
    tried_seeds |= set(cube.scored.get(entrant, []))

    parts = []
    if counted_seeds and len(counted_seeds) < len(tried_seeds):
        parts.append(f"{len(counted_seeds)} of {len(tried_seeds)} seeds")
    if entrant in cube.problems:
        parts.append(f"PSNR: {cube.problems[entrant]}")
    parts += _failure_notes(failures, len(tried_seeds))
    recorded_notes = rows_of(results.notes, dataset, entrant)["note"].tolist()
    is_scored = entrant in cube.entrants or not rows_of(results.scores, dataset, entrant).empty
    if failures.empty and not is_scored and not any(note.startswith(REFUSED) for note in recorded_notes):
        parts.append("not scored")
    if (fits["budget"] == "seconds").any():
        parts.append(TIME_BUDGET)
    parts += recorded_notes
    return "; ".join(parts)


def _flags(results: Tables, dataset: str, entrant: str, check: OptimumCheck | None) -> tuple[str, ...]:
    """Return why the scores of an entrant on a dataset are flagged."""
    flags = rows_of(results.flags, dataset, entrant)["flag"].tolist()
    violations = [entry for entry in check.violations if entry.entrant == entrant] if check else []
    if check is not None and violations:
        levels = ", ".join(f"{level_name(entry.sigma)} ({entry.standard_errors:.1f})" for entry in violations)
        flags.append(f"beats {check.optimum}, which is impossible, at σ = {levels} (difference in standard errors)")
    return tuple(flags)


def _failure_notes(failures: pd.DataFrame, seed_count: int) -> list[str]:
    """Return a note for each distinct error of a stage, with its metrics, and its seeds if some seeds succeeded."""
    metrics: dict[tuple[str, str], list[str]] = {}
    seeds: dict[tuple[str, str], set[int]] = {}
    columns = (failures[name] for name in ("stage", "metric", "error", "seed"))
    for stage, metric, error, seed in zip(*columns, strict=True):
        metric_names = metrics.setdefault((stage, error), [])
        if metric and metric not in metric_names:
            metric_names.append(metric)
        if isinstance(seed, Integral):
            seeds.setdefault((stage, error), set()).add(int(seed))
    parts = []
    for (stage, error), metric_names in metrics.items():
        failed_seeds = sorted(seeds.get((stage, error), ()))
        if (
            stage == "score"
            and error == NOT_RUN
            and failed_seeds
            and seeds.get(("fit", NOT_RUN), set()) >= set(failed_seeds)
        ):
            continue  # The note on the fit is enough, since scores of a missing fit cannot run.
        seed_prefix = f"seed{'s' if len(failed_seeds) > 1 else ''} {', '.join(map(str, failed_seeds))}: "
        subject = " ".join([stage, *([", ".join(metric_names)] if metric_names else [])])
        verb = "" if error == NOT_RUN else "failed: "
        parts.append(f"{seed_prefix if 0 < len(failed_seeds) < seed_count else ''}{subject} {verb}{error}")
    return parts


def _metric_values(results: Tables, other_cubes: Mapping[str, Mapping[str, ScoreCube]]) -> Iterator[Value]:
    """Yield means over seeds and images of metrics other than PSNR, and ratios of such means, with intervals.

    The part ``ceiling`` of a metric is the agreement of a denoiser with itself under fresh noise; the board shows its
    square root, which a basis can reach.
    """
    for metric, cubes in other_cubes.items():
        if metric in (DISTANCE, OPTIMAL_ERROR, CROSS) or is_optimality_slope(metric):
            continue
        if parse_metric_name(metric).part == CEILING:
            cubes = {dataset: replace(cube, values=reachable(cube.values)) for dataset, cube in cubes.items()}
        spreads = spreads_of(cubes)
        for dataset, cube in cubes.items():
            yield from _estimates(dataset, metric, cube, cube.sampled(spreads), results.scale_of(metric))
    for ratio in ratios_of(results):
        numerators, denominators = (other_cubes.get(name, {}) for name in (ratio.numerator, ratio.denominator))
        joined_cubes = {
            name: join_levels(cube, denominators[name]) for name, cube in numerators.items() if name in denominators
        }
        spreads = spreads_of(joined_cubes)
        for dataset, cube in joined_cubes.items():
            sample, scale = sampled_quotient(cube, spreads), results.scale_of(ratio.metric)
            yield from _estimates(dataset, ratio.metric, numerators[dataset], sample, scale)


def _estimates(
    dataset: str, metric: str, cube: ScoreCube, sample: SampledMeans, scale: IntervalScale
) -> Iterator[Value]:
    """Yield the estimates of a metric at each noise level and over all, from means (E, S)."""
    name = parse_metric_name(metric)
    # A prefix distinguishes metrics with reserved names from the board's own values.
    label = f"{CLASHING}{name.label}" if name.label in RESERVED else name.label
    for sigma, estimates in intervals_by_level(cube.sigmas, sample, scale):
        for entrant, value in zip(cube.entrants, estimates, strict=True):
            yield Value(dataset, entrant, label, name.part, sigma, value)
