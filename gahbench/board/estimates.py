"""Estimates of a suite's results: values with intervals in one long frame, and the rank, cost and note of each row.

PSNR is the mean, over seeds and test images, of the PSNR of each image. A PSNR without a noise level is also the mean
over noise levels, by which entrants are ranked (:mod:`gahbench.board.ranks`). The slope is fitted to the PSNR over all
noise levels of the suite; the optimal slope holds as sigma tends to 0.

Entrants whose PSNR is unknown at any noise level follow the ranked entrants without a rank, and entrants that failed
come last. Entrants that have diverged keep their place in the order but have no rank, and do not affect other rows
(:mod:`gahbench.board.cube`). If there are too few images for intervals, no entrant has a rank. If there are only too
few sources of images, intervals and ranks describe these sources, over their images, and the PSNR of each is listed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gahbench._util.readable import level_name
from gahbench.board import optimality, ranks
from gahbench.board.cube import (
    ScoreCube,
    join_levels,
    metric_cube,
    metric_cubes,
    ratios_of,
    sampled_quotient,
    share_spreads,
)
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import OptimumCheck
from gahbench.board.rate_curves import is_optimality_slope, rate_values
from gahbench.board.statistics import MIN_SOURCES, UNKNOWN, Interval, IntervalScale, SampledMeans, means, with_mean
from gahbench.board.tables import NOT_RUN, REFUSED, SUFFIXES, VALUE_COLUMNS, entrant_kinds, plain, value_rows
from gahbench.evaluation.rates import fit_slope, input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: Quantities of the board itself; all other quantities are means of metrics.
OWN = ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "kl", "slope")
#: Prefix of the quantity of a metric whose name is reserved for the board itself.
CLASHING = "metric "
#: Prefix of the part of ``psnr`` that is the mean over images of one source, such as ``source-1``.
SOURCE = "source-"


def _with_ends(names: Sequence[str]) -> list[str]:
    """Return columns of values with those of their ends; the PSNR of noisy images is constant, so it has no ends."""
    no_ends = ("gain_over_noisy", f"psnr_{SOURCE}")
    return [f"{name}{end}" for name in names for end in (("",) if name.startswith(no_ends) else SUFFIXES)]


#: Columns of the leaderboard over all noise levels, and at each level.
_PER_LEVEL = ("psnr", "gain_over_noisy", "gain_over_baseline", "deficit", "deficit_min")
#: Columns of the leaderboard by column of the table of costs.
_COSTS = {
    "multiply_adds": "multiply_adds_per_pixel",
    "seconds": "seconds_per_megapixel",
    "machine": "measured_on",
    "training_images": "training_images",
}
_FIXED_COLUMNS = (
    *("suite", "dataset", "rank", "rank_high", "entrant", "kind"),
    *_with_ends([*_PER_LEVEL, "kl", "kl_min", "slope"]),
    *("optimal_slope", "optimum", "parameters", *_COSTS.values(), "train_seconds", "precision", "seeds"),
)
#: Beginning of the note on a mean that one image decides.
DECISIVE = "the gain depends on test image"
#: A metric with one of these names is called ``metric NAME`` on boards.
RESERVED = frozenset({*_FIXED_COLUMNS, "note"})
_SHORT = (
    "dataset", "rank", "rank_high", "entrant", "kind", "psnr", "psnr_low", "psnr_high", "gain_over_baseline", "deficit",
    "slope", "parameters", "seeds", "note",
)  # fmt: skip
_DTYPES = dict.fromkeys(("rank", "rank_high", "parameters", "training_images", "seeds"), "Int64") | dict.fromkeys(
    ("suite", "dataset", "entrant", "kind", "optimum", "measured_on", "precision", "note"), "str"
)


@dataclass(frozen=True)
class Entry:
    """Facts about an entrant on a dataset: a row of the board; unknown costs are ``None`` or NaN.

    ``rank`` and ``rank_high`` are the ends of its interval of ranks; ``flags`` are the reasons why its scores are
    flagged. ``train_seconds`` is the mean training time, and ``precision`` that of the training; ``measured_on`` is the
    machine of the other times.
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
    precision: str = ""
    multiply_adds_per_pixel: float = math.nan
    seconds_per_megapixel: float = math.nan
    measured_on: str = ""
    training_images: int | None = None


@dataclass(frozen=True, eq=False)
class Estimates:
    """The board of a suite, or of one of its datasets.

    ``entries`` are the rows of each dataset, in the order of the board. ``frame`` has a row for each value: dataset,
    entrant, quantity, part, sigma (NaN for values over all noise levels), value, low and high (the ends of its 95 %
    interval). ``checks`` compares entrants with the optimum, by dataset, if an entrant is the optimum.
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

    @property
    def dataset(self) -> str:
        """The dataset of a board of one dataset."""
        return self.entries[0].dataset

    @cached_property
    def _known(self) -> dict[tuple[str, str, float | None], dict[str, Interval]]:
        """The known values on a board of one dataset, by quantity, part and noise level, and by entrant."""
        known: dict[tuple[str, str, float | None], dict[str, Interval]] = {}
        for _, entrant, *key, sigma, value, low, high in self.frame.itertuples(index=False, name=None):
            if not math.isnan(value):
                at_level = known.setdefault((*key, None if math.isnan(sigma) else sigma), {})
                at_level[entrant] = Interval(value, low, high)
        return known

    def estimate(self, entrant: str, metric: str, part: str = "", sigma: float | None = None) -> Interval:
        """Return a value on a board of one dataset; NaN if the value is unknown."""
        return self._known.get((metric, part, sigma), {}).get(entrant, UNKNOWN)

    def is_known(self, metric: str, part: str = "", sigma: float | None = None) -> bool:
        """Return whether the value is known for any entrant."""
        return (metric, part, sigma) in self._known

    @property
    def sigmas(self) -> list[float]:
        """Noise levels at which a PSNR is known, ascending."""
        return sorted(sigma for name, part, sigma in self._known if (name, part) == ("psnr", "") and sigma is not None)

    def leaderboard(self, full: bool = False) -> pd.DataFrame:
        """Return the board as one table, a row for each dataset and entrant: all values, or a summary."""
        import pandas as pd

        rows: dict[tuple[str, str], dict[str, Any]] = {
            (entry.dataset, entry.entrant): {"suite": self.suite, **vars(entry)} for entry in self.entries
        }
        levels, others = set[float](), dict[str, None]()
        for dataset, entrant, quantity, part, sigma, value, low, high in self.frame.itertuples(index=False, name=None):
            name = f"{quantity}{'_' if quantity in OWN else '.'}{part}" if part else quantity
            if not math.isnan(sigma):
                name = f"{name}@{level_name(sigma)}"
                levels |= {sigma} if quantity == "psnr" else set()
            others |= {name: None}
            rows[dataset, entrant] |= {name: value, f"{name}_low": low, f"{name}_high": high}
        names = [f"{name}@{level_name(sigma)}" for sigma in sorted(levels) for name in _PER_LEVEL]
        columns = list(dict.fromkeys([*_FIXED_COLUMNS, *_with_ends([*names, *others]), "note"]))
        table = pd.DataFrame(list(rows.values()), columns=pd.Index(columns))
        table = table.astype({name: _DTYPES.get(name, "float64") for name in columns})
        if full:
            return table
        return table[[name for name in _SHORT if table[name].notna().any() and (table[name] != "").any()]]


def estimate(results: Results) -> Estimates:
    """Build the board of a suite's results, with all datasets and entrants that have results."""
    import pandas as pd

    entries, checks = list[Entry](), dict[str, OptimumCheck]()
    values = [value_rows("", [], "", "", [])]
    kinds, other_cubes = entrant_kinds(results), metric_cubes(results)
    for dataset, cube in results.psnr_cubes.items():
        measured = {name: own_cubes[dataset] for name, own_cubes in other_cubes.items() if dataset in own_cubes}
        distances = optimality.Distances.from_cubes(cube, measured)
        check = optimality.check_optimum(cube, kinds, distances)
        if cube.entrants:
            values += _psnr_values(results, dataset, cube)
        if check is not None:
            checks[dataset] = check
            is_white = not results.facts[dataset].noise
            values += optimality.optimality_values(dataset, cube, kinds, distances, check, is_white)
        entries += _entries(results, dataset, cube, kinds, check)
    values += _metric_values(results, other_cubes)
    values += rate_values(results.deficit_curves)
    frame = pd.concat(values, ignore_index=True).astype(dict.fromkeys(VALUE_COLUMNS[:4], "str"))
    return Estimates(results.suite, entries, frame, checks)


def _psnr_values(results: Results, dataset: str, cube: ScoreCube) -> Iterator[pd.DataFrame]:
    """Yield PSNR and gains of every entrant, over all noise levels and at each, and the slope."""
    baseline = results.baseline
    labels, sample, noisy, overall = cube.entrants, cube.shared_sample, input_psnr(cube.sigmas), [math.nan]
    yield _values(dataset, cube, "psnr", "", sample)
    if (dataset, "validation", "psnr") in results.rows:
        validation = metric_cube(results, dataset, "psnr", "validation")
        yield _values(dataset, validation, "psnr", "validation", validation.shared_sample)
    gains = with_mean(sample.values - noisy)
    yield value_rows(dataset, labels, "gain_over_noisy", "", [*overall, *cube.sigmas], gains)
    sources = np.asarray(cube.sources)
    for number, source in enumerate(dict.fromkeys(cube.sources or ()) if cube.is_fixed_set else (), 1):
        by_entrant = means(cube.values[..., sources == source]).mean(axis=1)
        yield value_rows(dataset, labels, "psnr", f"{SOURCE}{number}", overall, by_entrant)
    if baseline in labels:
        chosen = [labels.index(baseline)]
        gained = sample.apply(lambda array: array - array[..., chosen, :])
        yield _values(dataset, cube, "gain_over_baseline", "", gained)
    if len(cube.sigmas) > 1:
        slopes = sample.apply(lambda array: fit_slope(noisy, array))
        yield value_rows(dataset, labels, "slope", "", overall, slopes.values, *slopes.ends())


def _metric_values(results: Results, measured: Mapping[str, Mapping[str, ScoreCube]]) -> Iterator[pd.DataFrame]:
    """Yield means over seeds and images of metrics other than PSNR, and ratios of such means, with intervals.

    The part ``ceiling`` of a metric is the agreement of a denoiser with itself under fresh noise; the board shows its
    square root, which a basis can reach.
    """
    hidden, ratios = (optimality.DISTANCE, optimality.OPTIMAL_ERROR, optimality.CROSS), ratios_of(results)
    shown = {
        name: dict(cubes) for name, cubes in measured.items() if name not in hidden and not is_optimality_slope(name)
    }
    for metric, names in ratios.items():
        above, below = (measured.get(name, {}) for name in names)
        shown[metric] = {dataset: join_levels(above[dataset], below[dataset]) for dataset in above if dataset in below}
    for metric, cubes in shown.items():
        name = parse_metric_name(metric)
        # A prefix distinguishes metrics with reserved names from quantities of the board itself.
        quantity = f"{CLASHING}{name.label}" if name.label in RESERVED else name.label
        if name.part == "ceiling":
            reachable = {dataset: np.sqrt(np.clip(cube.values, 0, None)) for dataset, cube in cubes.items()}
            cubes = {dataset: replace(cubes[dataset], values=values) for dataset, values in reachable.items()}
        for dataset, cube in share_spreads({name: cube.without_copies() for name, cube in cubes.items()}).items():
            sample = sampled_quotient(cube) if metric in ratios else cube.shared_sample
            yield _values(dataset, cube, quantity, name.part, sample, results.scale_of(metric))


def _values(
    dataset: str, cube: ScoreCube, quantity: str, part: str, sample: SampledMeans, scale: IntervalScale = "linear"
) -> pd.DataFrame:
    """Return the means (E, S) of all entrants over noise levels, if there are any, and at each noise level."""
    sigmas = cube.sigmas[: sample.values.shape[-1]]
    if not np.isnan(sigmas).any():
        sample, sigmas = sample.apply(with_mean), [math.nan, *sigmas]
    return value_rows(dataset, cube.entrants, quantity, part, sigmas, sample.values, *sample.ends(scale))


def _entries(
    results: Results, dataset: str, cube: ScoreCube, kinds: Mapping[str, str], check: OptimumCheck | None
) -> Iterator[Entry]:
    """Yield the facts of every entrant of a dataset, in the order of the board: the highest PSNR first."""
    order, ends = list[str](), dict[str, tuple[int | None, int | None]]()
    if cube.entrants:
        overall = cube.shared_sample.apply(lambda array: array.mean(axis=-1))
        order = ranks.sorted_by_psnr(cube.entrants, overall.values)
        ends, _ = ranks.rank_entrants([cube], cube.entrants, overall, kinds)
    tables = (results.scores, results.fits, results.failures, results.notes, results.costs, results.flags)
    by_entrant = [dict(list(table[table["dataset"] == dataset].groupby("entrant"))) for table in tables]
    present, decisive = set().union(*by_entrant[:4]), _decisive_images(cube, results.baseline)
    for label in dict.fromkeys([*order, *(label for label in results.entrants if label in present)]):
        rows = (own.get(label, table[:0]) for own, table in zip(by_entrant, tables, strict=True))
        scores, fits, failures, notes, costs, flagged = rows
        seeds, scored = (of_cube.get(label, []) for of_cube in (cube.seeds, cube.scored))
        tried = {*fits["seed"].dropna(), *failures["seed"].dropna(), *scored}
        flags = flagged["flag"].tolist()
        if levels := [level_name(entry.sigma) for entry in check.violations if entry.entrant == label] if check else []:
            flags.append(f"beats the optimum, which is impossible, at σ = {', '.join(levels)}")
        is_refused = notes["note"].str.startswith(REFUSED).any()
        remarks = [
            *(f"flagged: {flag}" for flag in flags),
            cube.left_out.get(label),
            seeds and len(seeds) < len(tried) and f"{len(seeds)} of {len(tried)} seeds",
            label in cube.problems and f"PSNR: {cube.problems[label]}",
            decisive.get(label),
            *_failures(failures),
            scores.empty and failures.empty and not is_refused and "not scored",
            *notes["note"],
        ]
        known: dict[str, Any] = {}
        if not fits.empty:
            known = {"parameters": int(fits["parameters"].iloc[0]), "train_seconds": fits["train_seconds"].mean()}
            known["precision"] = ", ".join(sorted(fits["precision"].unique()))
        # Of several records of costs, the fastest counts.
        for record in costs.sort_values("seconds", kind="stable")[:1].to_dict("records"):
            known |= {name: value for key, name in _COSTS.items() if (value := plain(record[key])) is not None}
        yield Entry(
            dataset,
            label,
            kinds.get(label, ""),
            *ends.get(label, (None, None)),
            results.facts[dataset].optimum,
            results.facts[dataset].slope,
            len(seeds) if tried else None,
            "; ".join(filter(None, remarks)),
            tuple(flags),
            **known,
        )


def _decisive_images(cube: ScoreCube, baseline: str | None) -> dict[str, str]:
    """Return a note for each entrant whose gains differ from their median in one image more than in all others."""
    if baseline not in cube.entrants or len(cube.images) < MIN_SOURCES:
        return {}
    by_image = means(cube.values.swapaxes(2, 3)[..., None]).mean(axis=1)
    gains = by_image - by_image[cube.entrants.index(baseline)]
    medians = np.median(gains, axis=1)
    deviations = np.abs(gains - medians[:, None])
    return {
        label: f"{DECISIVE} {cube.images[own.argmax()]}: its mean is {gain:.2f} dB, and its median {median:.2f} dB"
        for label, own, gain, median in zip(cube.entrants, deviations, gains.mean(axis=1), medians, strict=True)
        if own.max() > own.sum() / 2
    }


def _failures(failures: pd.DataFrame) -> Iterator[str]:
    """Yield a note for each distinct error of a stage, with its metrics."""
    for (stage, error), rows in failures.groupby(["stage", "error"], sort=False):
        metrics = ", ".join(filter(None, rows["metric"].unique()))
        yield f"{stage}{metrics and f' {metrics}'} {'' if error == NOT_RUN else 'failed: '}{error}"
