"""Estimates of a suite's results: values with intervals in one long frame, and the rank, cost and note of each row.

- PSNR is the mean, over seeds and test images, of the PSNR of each image. A PSNR without a noise level is also the mean
  over noise levels, by which entrants are ranked (:mod:`gahbench.board.ranks`).
- If the optimum is known, it has a row, and the other rows have their distance from it
  (:mod:`gahbench.board.optimality`), and its slope if several sizes of images show it
  (:mod:`gahbench.board.rate_curves`).
- The slope is fitted to the PSNR over all noise levels of the suite; the optimal slope holds as sigma tends to 0.
- Entrants whose PSNR is unknown at any noise level follow the ranked entrants without a rank, and entrants that failed
  come last. If there are too few images for intervals, no entrant has a rank. If there are only too few sources of
  images, intervals and ranks describe these sources, over their images, and the PSNR of each source is listed.
- Entrants that have diverged keep their place in the order but have no rank, and do not affect other rows
  (:mod:`gahbench.board.cube`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.readable import level_name
from gahbench.board import facts, optimality, ranks
from gahbench.board.alignments import CEILING, reachable
from gahbench.board.cube import (
    ScoreCube,
    join_levels,
    metric_cubes,
    psnr_cubes,
    ratios_of,
    sampled_quotient,
    share_spreads,
)
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import OptimumCheck
from gahbench.board.rate_curves import is_optimality_slope, rate_values
from gahbench.board.statistics import UNKNOWN, Interval, IntervalScale, SampledMeans, means
from gahbench.board.tables import Value, rows_of
from gahbench.evaluation.rates import fit_slope, input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: Suffixes of the columns of a value and of the ends of its interval.
SUFFIXES = ("", "_low", "_high")
#: Quantities of the board itself; all other quantities are means of metrics.
OWN = ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "kl", "slope")
#: Prefix of the quantity of a metric whose name is reserved for the board itself.
CLASHING = "metric "
#: Prefix of the part of ``psnr`` that is the mean over images of one source, such as ``source-1``.
SOURCE = "source-"
#: Columns of the leaderboard at each noise level, and over all noise levels. The gain over the noisy images, whose PSNR
#: is constant, has no interval of its own.
_PER_LEVEL = tuple(
    f"{name}{{level}}{end}"
    for name in ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "deficit_min")
    for end in (SUFFIXES if name != "gain_over_noisy" else ("",))
)
_FIXED_COLUMNS = (
    *("suite", "dataset", "rank", "rank_high", "entrant", "kind"),
    *(name.format(level="") for name in _PER_LEVEL),
    *(f"{name}{end}" for name in ("kl", "kl_min", "slope") for end in SUFFIXES),
    *("optimal_slope", "optimum", "parameters", *facts.COSTS.values(), "train_seconds", "seeds"),
)
#: A metric with one of these names is called ``metric NAME`` on boards.
RESERVED = frozenset({*_FIXED_COLUMNS, "note"})
_SHORT = (
    "dataset", "rank", "rank_high", "entrant", "kind", "psnr", "psnr_low", "psnr_high", "gain_over_baseline", "deficit",
    "slope", "parameters", "seeds", "note",
)  # fmt: skip
_DTYPES = dict.fromkeys(("rank", "rank_high", "parameters", "training_images", "seeds"), "Int64") | dict.fromkeys(
    ("suite", "dataset", "entrant", "kind", "optimum", "measured_on", "note"), "str"
)
#: The note on entrants that are worse than the noisy images is shown for differences above this, in dB.
_MIN_LOSS = 0.01


@dataclass(frozen=True)
class Entry:
    """Facts about an entrant on a dataset: a row of the board; unknown costs are ``None`` or NaN.

    ``rank`` and ``rank_high`` are the ends of its interval of ranks; ``flags`` are the reasons why its scores are
    flagged. ``train_seconds`` is the mean training time; ``measured_on`` is the machine of the other times.
    """

    dataset: str
    entrant: str
    kind: str
    rank: int | None
    rank_high: int | None
    optimum: str
    optimal_slope: float
    seeds: int | None
    note: str
    flags: tuple[str, ...]
    parameters: int | None = None
    train_seconds: float = math.nan
    multiply_adds_per_pixel: float = math.nan
    seconds_per_megapixel: float = math.nan
    measured_on: str = ""
    training_images: int | None = None


@dataclass(frozen=True, eq=False)
class Estimates:
    """The board of a suite, or of one of its datasets.

    Parameters
    ----------
    suite
        Name of the suite.
    entries
        The rows of each dataset, in the order of the board.
    frame
        The values, one row each: dataset, entrant, quantity, part, sigma (NaN for values over all noise levels), value,
        low and high (the ends of its 95 % interval).
    checks
        Comparisons with the optimum, by dataset; only for datasets where an entrant is the optimum.
    """

    suite: str
    entries: Sequence[Entry]
    frame: pd.DataFrame
    checks: Mapping[str, OptimumCheck] = field(default_factory=dict)

    def select(
        self, datasets: Collection[str], entrants: Collection[str] | None = None, metrics: Collection[str] | None = None
    ) -> Estimates:
        """Return the rows of datasets and entrants, with the quantities of the board itself and of metrics."""
        is_kept = self.frame["dataset"].isin(datasets)
        if entrants is not None:
            is_kept &= self.frame["entrant"].isin(entrants)
        if metrics is not None:
            is_kept &= self.frame["quantity"].isin([*OWN, *metrics, *(f"{CLASHING}{name}" for name in metrics)])
        return Estimates(
            self.suite,
            [row for row in self.entries if row.dataset in datasets and (entrants is None or row.entrant in entrants)],
            self.frame[is_kept],
            {dataset: check for dataset, check in self.checks.items() if dataset in datasets},
        )

    @cached_property
    def datasets(self) -> list[Estimates]:
        """The board of each dataset, in order."""
        return [self.select([dataset]) for dataset in dict.fromkeys(entry.dataset for entry in self.entries)]

    def for_dataset(self, dataset: str) -> Estimates:
        """Return the board of one dataset, which is empty if the dataset has no results."""
        return next((board for board in self.datasets if board.dataset == dataset), self.select(()))

    @property
    def dataset(self) -> str:
        """The dataset of a board of one dataset."""
        return self.entries[0].dataset

    @cached_property
    def _by_quantity(self) -> dict[tuple[str, str, float | None], dict[str, Interval]]:
        values: dict[tuple[str, str, float | None], dict[str, Interval]] = {}
        for _, entrant, quantity, part, sigma, *ends in self.frame.itertuples(index=False, name=None):
            key = (quantity, part, None if math.isnan(sigma) else sigma)
            values.setdefault(key, {})[entrant] = Interval(*ends)
        return values

    def estimate(self, entrant: str, metric: str, part: str = "", sigma: float | None = None) -> Interval:
        """Return a value on a board of one dataset; NaN if the value is unknown."""
        return self._by_quantity.get((metric, part, sigma), {}).get(entrant, UNKNOWN)

    def is_known(self, metric: str, part: str = "", sigma: float | None = None) -> bool:
        """Return whether the value is known for any entrant."""
        return any(value.is_known for value in self._by_quantity.get((metric, part, sigma), {}).values())

    def levels(self, metric: str, part: str = "") -> list[float]:
        """Return the noise levels at which a value of any entrant is known, ascending."""
        levels = {sigma for name, own_part, sigma in self._by_quantity if (name, own_part) == (metric, part)}
        return sorted(sigma for sigma in levels if sigma is not None and self.is_known(metric, part, sigma))

    @cached_property
    def sigmas(self) -> list[float]:
        """Noise levels at which a PSNR is known, ascending."""
        return self.levels("psnr")

    @cached_property
    def source_parts(self) -> list[str]:
        """Parts of ``psnr`` that are means over images of one source; empty unless there are only a few sources."""
        return [part for metric, part, _ in self._by_quantity if metric == "psnr" and part.startswith(SOURCE)]

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board as one table, a row for each dataset and entrant: all values, or a summary."""
        import pandas as pd

        rows: dict[tuple[str, str], dict[str, Any]] = {
            (entry.dataset, entry.entrant): {"suite": self.suite, **vars(entry)} for entry in self.entries
        }
        for dataset, entrant, quantity, part, sigma, *ends in self.frame.itertuples(index=False, name=None):
            name = column_name(quantity, part, sigma)
            rows[dataset, entrant] |= {f"{name}{suffix}": end for suffix, end in zip(SUFFIXES, ends, strict=True)}
        columns = self._columns()
        table = pd.DataFrame(list(rows.values()), columns=pd.Index(columns))
        table = table.astype({name: _DTYPES.get(name, "float64") for name in columns})
        if full:
            return table
        return table[[name for name in _SHORT if table[name].notna().any() and (table[name] != "").any()]]

    def _columns(self) -> list[str]:
        """Return the names of all columns, in an order that depends only on the content of the results."""
        keys = self.frame[["quantity", "part", "sigma"]].drop_duplicates().itertuples(index=False, name=None)
        levels, sources, others = set(), [], []
        for quantity, part, sigma in keys:
            if quantity == "psnr" and not math.isnan(sigma):
                levels.add(sigma)
            elif part.startswith(SOURCE):
                sources.append(column_name(quantity, part))
            elif quantity not in OWN:
                stem = column_name(quantity, part)
                others.append((stem, -1.0 if math.isnan(sigma) else sigma, column_name(quantity, part, sigma)))
        at_levels = [name.format(level=f"@{level_name(sigma)}") for sigma in sorted(levels) for name in _PER_LEVEL]
        # Suffixes are sorted, too: columns of one quantity and noise level are its value, its high and its low end.
        other_columns = [f"{name}{suffix}" for _, _, name in sorted(others) for suffix in sorted(SUFFIXES)]
        return [*_FIXED_COLUMNS, *at_levels, *sources, *other_columns, "note"]


def column_name(quantity: str, part: str = "", sigma: float = math.nan) -> str:
    """Return the name of the column that holds a value of the long frame."""
    stem = f"{quantity}{'_' if quantity in OWN else '.'}{part}" if part else quantity
    return stem if math.isnan(sigma) else f"{stem}@{level_name(sigma)}"


def estimate(results: Results) -> Estimates:
    """Build the board of a suite's results, with all datasets and entrants that have results."""
    import pandas as pd

    entries: list[Entry] = []
    values: list[Value] = []
    checks: dict[str, OptimumCheck] = {}
    kinds, other_cubes = facts.entrant_kinds(results), metric_cubes(results)
    for dataset, cube in psnr_cubes(results).items():
        measured = {name: own_cubes[dataset] for name, own_cubes in other_cubes.items() if dataset in own_cubes}
        distances = optimality.Distances.from_cubes(cube, measured)
        check = optimality.check_optimum(cube, kinds, distances)
        if cube.entrants:
            values += _psnr_values(dataset, cube, results.baseline)
        if check is not None:
            checks[dataset] = check
            is_white = not facts.noise_of(results, dataset)
            values += optimality.optimality_values(dataset, cube, kinds, distances, check, is_white)
        entries += _entries(results, dataset, cube, kinds, check)
    values += _metric_values(results, other_cubes)
    values += rate_values(results.deficit_curves)
    rows = [
        (*key, math.nan if sigma is None else sigma, interval.value, interval.low, interval.high)
        for *key, sigma, interval in values
    ]
    columns = pd.Index(["dataset", "entrant", "quantity", "part", "sigma", "value", "low", "high"])
    return Estimates(results.suite, entries, pd.DataFrame(rows, columns=columns), checks)


def _psnr_values(dataset: str, cube: ScoreCube, baseline: str | None) -> Iterator[Value]:
    """Yield PSNR and gains of every entrant, over all noise levels and at each, and the slope."""
    noisy, sample = input_psnr(cube.sigmas), cube.shared_sample
    yield from _sampled_values(dataset, cube, "psnr", "", sample)
    gains = np.column_stack([sample.values.mean(axis=1), sample.values]) - [noisy.mean(), *noisy]
    for sigma, at_level in zip((None, *cube.sigmas), gains.T, strict=True):
        yield from _values(dataset, cube, "gain_over_noisy", "", sigma, map(Interval, at_level.tolist()))
    if cube.is_fixed_set:
        sources = np.asarray(cube.sources)
        for number, source in enumerate(dict.fromkeys(sources), 1):
            by_entrant = means(cube.values[..., sources == source]).mean(axis=1)
            yield from _values(dataset, cube, "psnr", f"{SOURCE}{number}", None, map(Interval, by_entrant.tolist()))
    if baseline in cube.entrants:
        chosen = [cube.entrants.index(baseline)]
        gains_over_baseline = sample.apply(lambda array: array - array[..., chosen, :])
        yield from _sampled_values(dataset, cube, "gain_over_baseline", "", gains_over_baseline)
    if len(cube.sigmas) > 1:
        slopes = sample.apply(lambda array: fit_slope(noisy, array)).intervals()
        yield from _values(dataset, cube, "slope", "", None, slopes)


def _metric_values(results: Results, other_cubes: Mapping[str, Mapping[str, ScoreCube]]) -> Iterator[Value]:
    """Yield means over seeds and images of metrics other than PSNR, and ratios of such means, with intervals.

    The part ``ceiling`` of a metric is the agreement of a denoiser with itself under fresh noise; the board shows its
    square root, which a basis can reach.
    """
    for metric, dataset, cube, sample in _samples_of_metrics(results, other_cubes):
        name = parse_metric_name(metric)
        # A prefix distinguishes metrics with reserved names from quantities of the board itself.
        quantity = f"{CLASHING}{name.label}" if name.label in RESERVED else name.label
        yield from _sampled_values(dataset, cube, quantity, name.part, sample, results.scale_of(metric))


def _samples_of_metrics(
    results: Results, other_cubes: Mapping[str, Mapping[str, ScoreCube]]
) -> Iterator[tuple[str, str, ScoreCube, SampledMeans]]:
    for metric, cubes in other_cubes.items():
        if metric in (optimality.DISTANCE, optimality.OPTIMAL_ERROR, optimality.CROSS) or is_optimality_slope(metric):
            continue
        if parse_metric_name(metric).part == CEILING:
            cubes = {dataset: replace(cube, values=reachable(cube.values)) for dataset, cube in cubes.items()}
        for dataset, cube in share_spreads(cubes).items():
            yield metric, dataset, cube, cube.shared_sample
    for metric, names in ratios_of(results).items():
        above, below = (other_cubes.get(name, {}) for name in names)
        joined = {dataset: join_levels(above[dataset], below[dataset]) for dataset in above if dataset in below}
        for dataset, cube in share_spreads(joined).items():
            yield metric, dataset, above[dataset], sampled_quotient(cube)


def _sampled_values(
    dataset: str, cube: ScoreCube, quantity: str, part: str, sample: SampledMeans, scale: IntervalScale = "linear"
) -> Iterator[Value]:
    """Yield the means (E, S) of all entrants over noise levels, if there are any, and at each noise level."""
    levels = [None if math.isnan(sigma) else sigma for sigma in cube.sigmas]
    if None not in levels:
        overall = sample.apply(lambda array: array.mean(axis=-1)).intervals(scale)
        yield from _values(dataset, cube, quantity, part, None, overall)
    ends = (sample.values, *sample.ends(scale))
    for index, sigma in enumerate(levels):
        columns = (array[:, index].tolist() for array in ends)
        yield from _values(dataset, cube, quantity, part, sigma, map(Interval, *columns))


def _values(
    dataset: str, cube: ScoreCube, quantity: str, part: str, sigma: float | None, intervals: Iterable[Interval]
) -> Iterator[Value]:
    for entrant, interval in zip(cube.entrants, intervals, strict=True):
        yield Value(dataset, entrant, quantity, part, sigma, interval)


def _entries(
    results: Results, dataset: str, cube: ScoreCube, kinds: Mapping[str, str], check: OptimumCheck | None
) -> Iterator[Entry]:
    """Yield the facts of every entrant of a dataset, in the order of the board: the highest PSNR first."""
    present_entrants = facts.entrants_on(results, dataset)
    order, ends, worse = list[str](), dict[str, tuple[int | None, int | None]](), dict[str, str]()
    if cube.entrants:
        overall, trained = (
            cube.shared_sample.apply(lambda array: array.mean(axis=-1)),
            ranks.trained_in_runs(cube, kinds),
        )
        order = ranks.sorted_by_psnr(cube.entrants, overall.values)
        are_seeds_known = ranks.knows_seeds(cube, trained)
        ends = ranks.rank_entrants(cube.entrants, overall, kinds, cube.left_out, trained, are_seeds_known)
        worse = _levels_below_noisy(cube, cube.shared_sample)
    for label in dict.fromkeys([*order, *(label for label in results.entrants if label in present_entrants)]):
        seed_count = len(cube.seeds.get(label, []))
        flags = _flags(results, dataset, label, check)
        notes = [
            *(f"flagged: {flag}" for flag in flags),
            cube.left_out.get(label),
            f"worse than the noisy images at σ = {worse[label]}" if worse.get(label) else "",
            *_notes(results, dataset, label, cube),
        ]
        yield Entry(
            dataset,
            label,
            kinds.get(label, ""),
            *ends.get(label, (None, None)),
            *facts.optimum_of(results, dataset),
            seed_count if seed_count or facts.is_fitted(results, dataset, label) else None,
            "; ".join(filter(None, notes)),
            flags,
            **facts.cost_of(results, dataset, label),
        )


def _levels_below_noisy(cube: ScoreCube, sample: SampledMeans) -> dict[str, str]:
    """Return, for each entrant, the noise levels at which its PSNR is significantly below that of the noisy images."""
    high = sample.ends()[1]
    is_below = np.where(np.isnan(high), sample.values, high) < input_psnr(cube.sigmas) - _MIN_LOSS
    return {
        label: ", ".join(level_name(cube.sigmas[level]) for level in np.flatnonzero(row))
        for label, row in zip(cube.entrants, is_below, strict=True)
    }


def _notes(results: Results, dataset: str, entrant: str, cube: ScoreCube) -> Iterator[str]:
    """Yield the notes on an entrant of a dataset."""
    fits, failures = (rows_of(table, dataset, entrant) for table in (results.fits, results.failures))
    counted_seeds = cube.seeds.get(entrant, [])
    tried_seeds = {*fits["seed"].dropna(), *failures["seed"].dropna(), *cube.scored.get(entrant, [])}
    if counted_seeds and len(counted_seeds) < len(tried_seeds):
        yield f"{len(counted_seeds)} of {len(tried_seeds)} seeds"
    if entrant in cube.problems:
        yield f"PSNR: {cube.problems[entrant]}"
    yield from _failure_notes(failures, len(tried_seeds))
    recorded_notes = rows_of(results.notes, dataset, entrant)["note"].tolist()
    is_scored = entrant in cube.entrants or not rows_of(results.scores, dataset, entrant).empty
    if failures.empty and not is_scored and not any(note.startswith(facts.REFUSED) for note in recorded_notes):
        yield "not scored"
    if (fits["budget"] == "seconds").any():
        yield facts.TIME_BUDGET
    yield from recorded_notes


def _failure_notes(failures: pd.DataFrame, seed_count: int) -> Iterator[str]:
    """Yield a note for each distinct error of a stage, with its metrics, and its seeds if some seeds succeeded."""
    groups = list(failures.groupby(["stage", "error"], sort=False))
    seeds = {key: sorted({int(seed) for seed in rows["seed"].dropna()}) for key, rows in groups}
    for (stage, error), rows in groups:
        failed_seeds = seeds[stage, error]
        if (
            (stage, error) == ("score", facts.NOT_RUN)
            and failed_seeds
            and {*failed_seeds} <= {*seeds.get(("fit", error), ())}
        ):
            continue  # The note on the fit is enough, since scores of a missing fit cannot run.
        metrics = ", ".join(filter(None, rows["metric"].unique()))
        seed_prefix = f"seed{'s' if len(failed_seeds) > 1 else ''} {', '.join(map(str, failed_seeds))}: "
        verb = "" if error == facts.NOT_RUN else "failed: "
        subject = f"{stage} {metrics}" if metrics else stage
        yield f"{seed_prefix if 0 < len(failed_seeds) < seed_count else ''}{subject} {verb}{error}"


def _flags(results: Results, dataset: str, entrant: str, check: OptimumCheck | None) -> tuple[str, ...]:
    """Return why the scores of an entrant on a dataset are flagged."""
    flags = rows_of(results.flags, dataset, entrant)["flag"].tolist()
    violations = [entry for entry in check.violations if entry.entrant == entrant] if check else []
    if check is not None and violations:
        levels = ", ".join(f"{level_name(entry.sigma)} ({entry.standard_errors:.1f})" for entry in violations)
        flags.append(f"beats {check.optimum}, which is impossible, at σ = {levels} (difference in standard errors)")
    return tuple(flags)
