"""Verdicts on claims: whether tidy tables of results support statements of publications.

A claim has a region in which its values must lie. In each case, which is a pair of dataset and entrant in a results
folder, there is a value for every noise level, basis or number of images that the claim names. The intervals are
simultaneous: all of them together hold with a probability of 95 %
(:func:`gahbench.board.statistics.simultaneous_intervals`). A claim

- **holds** if all intervals lie in the region,
- **fails** if at least one interval is disjoint from the region,
- is **undecided** otherwise, and
- is **not measured**, with a reason, if there are no values, a value is missing or not finite, or the conditions of the
  claim are not met.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gahbench._util.errors import ParameterError, ResultsError, listing
from gahbench._util.readable import level_name
from gahbench.board import statistics
from gahbench.board.cube import ScoreCube, cubes_by_images, join_levels, left_out_part, ratios_of, spreads_of
from gahbench.board.facts import dataset_names, noise_of
from gahbench.board.optimality import DISTANCE, OPTIMAL_ERROR
from gahbench.board.results import INDEX, Results, load_results
from gahbench.board.statistics import DRAWS, MIN_SOURCES, UNKNOWN, Array, Interval, SampledMeans
from gahbench.contracts.claims import Claim, Levels, Measure, Outcome, Region, Scale
from gahbench.contracts.row_labels import base_label, matches, split_label
from gahbench.evaluation.rates import fit_slope, input_psnr
from gahbench.registry.registry import Registry, open_registry
from gahbench.store.plan_file import short_names

#: Name of the distance from the optimum in dB, as on boards.
DEFICIT = "deficit"

#: Means by number of training images and noise level; both are 0 for values without them.
Grid = dict[tuple[float, float], SampledMeans]


class NotMeasuredError(Exception):
    """The results lack values of a case, or the case does not meet a condition; the message says which."""


@dataclass(frozen=True)
class Case:
    """The outcome of a claim for a dataset and an entrant of a results folder.

    ``estimate`` is the least favourable of ``count`` values, and ``at`` says which value it is.
    """

    folder: str = ""
    dataset: str = ""
    entrant: str = ""
    outcome: Outcome = "not measured"
    estimate: Interval = UNKNOWN
    at: str = ""
    count: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, with its cases: the least favourable case first, cases that are not measured last."""

    name: str
    claim: Claim
    cases: tuple[Case, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the claim was compared with its source; unverified claims are not counted."""
        return self.claim.checked != "unverified"

    @property
    def decisive(self) -> Case:
        """The least favourable case; if no case is measured, a case without a dataset, which gives the reason."""
        if self.cases and self.cases[0].outcome != "not measured":
            return self.cases[0]
        measure, reasons = self.claim.measure, [*dict.fromkeys(case.reason for case in self.cases)]
        none = f"no results of {listing(measure.entrants)} on {listing(measure.datasets)}"
        reason = self.claim.missing or "; ".join(reasons[:2]) or none
        return Case(reason=f"{reason}; suite {self.claim.suite}" if isinstance(self.claim.suite, str) else reason)

    @property
    def outcome(self) -> Outcome:
        """The outcome of the least favourable case."""
        return self.decisive.outcome


class Row(NamedTuple):
    """Means of a metric by noise level for a row of results; numbers of images and seeds are 0 if unknown."""

    means: dict[float, SampledMeans]
    images: int
    seeds: int


class Quantity(NamedTuple):
    """The values (M,) of a measure in one case, with names, and facts about the case."""

    names: list[str]
    sample: SampledMeans
    scale: statistics.IntervalScale
    facts: dict[str, float]


class Table:
    """The results of one folder as means of metrics with their samples, each of which is computed once."""

    def __init__(self, name: str, results: Results) -> None:
        self.name, self.results = name, results
        #: Labels of rows by dataset with white Gaussian noise, which claims are about.
        self.entrants: dict[str, list[str]] = {}
        labels = results.scores.groupby("dataset")["entrant"].agg(set)
        for dataset in dataset_names(results):
            if not noise_of(results, dataset):
                self.entrants[dataset] = [label for label in results.entrants if label in labels.get(dataset, ())]
        #: The numerator and the denominator of ratios, by the name of the ratio.
        self.ratios = ratios_of(results) | {DEFICIT: (DISTANCE, OPTIMAL_ERROR)}
        #: Rows of means by dataset and label, as a function of metric, split and a metric to subtract.
        self.rows = functools.cache(self._load_rows)

    def metrics(self, pattern: str, dataset: str, split: str) -> list[str]:
        """Return the names of metrics that match a pattern and were measured on a dataset and split."""
        names = {metric for *place, metric in self.results.rows if place == [dataset, split]}
        names |= {ratio for ratio, parts in self.ratios.items() if {*parts} <= names}
        if not (chosen := sorted(name for name in names if fnmatchcase(name, pattern.replace("[", "[[]")))):
            raise NotMeasuredError(f"no {pattern} on {dataset}, split {split}")
        return chosen

    def grid(
        self, dataset: str, metric: str, split: str, labels: Mapping[float, str], scale: Scale, minus: str = ""
    ) -> Grid:
        """Return the means of a metric, or of its difference from another metric, for rows by number of images."""
        left_out, rows, grid = self.results.left_out.get(dataset, {}), self.rows(metric, split, minus), Grid()
        for number, label in labels.items():
            if label in left_out:
                raise NotMeasuredError(f"{label} on {dataset} is left out, {left_out[label]}")
            if (dataset, label) not in rows:
                raise NotMeasuredError(f"no {metric} of {label} on {dataset}, split {split}")
            for sigma, mean in rows[dataset, label].means.items():
                grid[number, sigma] = mean if scale == "linear" else _log10(mean)
        return grid

    def _load_rows(self, metric: str, split: str, minus: str) -> dict[tuple[str, str], Row]:
        ratio, cubes = self.ratios.get(metric), list[tuple[str, ScoreCube]]()
        parts = ratio or [metric, *filter(None, [minus])]
        for dataset in self.entrants:
            # There is a cube for each set of images.
            for first, *others in cubes_by_images(self.results, dataset, parts, split, self.results.entrants):
                if ratio or not minus:
                    cubes.append((dataset, join_levels(first, *others) if ratio else first))
                elif first.images == others[0].images:
                    cubes.append((dataset, replace(first, values=first.values - others[0].reindex_like(first))))
        # The variance between training runs is pooled over datasets.
        spreads = spreads_of({str(index): cube for index, (_, cube) in enumerate(cubes)})
        rows: dict[tuple[str, str], Row] = {}
        for dataset, cube in cubes:
            # Effects of seeds on different metrics, splits and datasets are drawn independently.
            prefix = " ".join(filter(None, (dataset, metric, split, minus)))
            values, sources, count = cube.values, cube.sources, len(cube.images)
            images = 0 if cube.images == [-1] else count if sources is None else len(set(sources))
            # A few training images are the whole population, not a sample of images, so only training runs vary.
            if len(cube.runs) > 1 and (not images or (split == "train" and count < MIN_SOURCES)):
                values, sources = statistics.means(values[..., None, :])[..., None].repeat(MIN_SOURCES, axis=3), None
            names, excluded = ([f"{prefix} {label}" for label in labels] for labels in (cube.entrants, cube.left_out))
            own_spreads = {f"{prefix} {label}": spread for label, spread in spreads.items()}
            sample = statistics.sampled_means(values, DRAWS, 0, names, own_spreads, sources, excluded=excluded)
            sigmas = np.nan_to_num(cube.sigmas).tolist()
            if ratio:
                sigmas, levels = sigmas[: len(sigmas) // 2], range(len(sigmas))
                sample = statistics.divide(sample.at(levels[: len(sigmas)]), sample.at(levels[len(sigmas) :]))
            if metric == DEFICIT:
                shifted = sample.apply(np.asarray, 1 + np.maximum(sample.values, 0))
                sample = _log10(shifted).apply(functools.partial(np.multiply, 10))
            for index, label in enumerate(cube.entrants):
                of_row = sample.row(index)
                means = {sigma: of_row.apply(operator.itemgetter((..., level))) for level, sigma in enumerate(sigmas)}
                rows[dataset, label] = Row(means, images, len(cube.seeds.get(label, ())))
        return rows


def _log10(sample: SampledMeans) -> SampledMeans:
    """Return logarithms of means, with deviations to first order; NaN where a mean is not positive."""
    positive = np.where(sample.values > 0, sample.values, np.nan)
    return sample.apply(lambda array: array / positive / math.log(10), np.log10(positive))


def choose_levels(wanted: Levels, known: Iterable[float]) -> list[float]:
    """Return the wanted levels among known levels, in ascending order; none if a wanted level is missing."""
    levels = sorted(level for level in known if wanted.start <= level <= wanted.end)
    if wanted.at:
        levels = sorted(wanted.at) if {*wanted.at} <= {*levels} else []
    return {"lowest": levels[:1], "highest": levels[-1:]}.get(wanted.take, levels)


def measure_quantity(table: Table, case: Case, measure: Measure) -> Quantity:
    """Return the values of a measure in one case."""
    labels, place = {0.0: case.entrant}, f"{case.entrant} on {case.dataset}"
    if measure.number is not None:
        rows = [label for label in table.entrants[case.dataset] if base_label(label) == case.entrant != label]
        # All training images count as infinitely many.
        sweep = {float(str(split_label(label)[1]).replace("all", "inf")): label for label in rows}
        labels = {number: sweep[number] for number in choose_levels(measure.number, sweep)}
        if not labels:
            raise NotMeasuredError(f"{place} has no row for N = {measure.number}")
    metrics, values = table.metrics(measure.metric, case.dataset, measure.split), dict[str, SampledMeans]()
    for metric in metrics:
        may_omit = (case.dataset, measure.split, left_out_part(metric)) in table.results.rows
        for name, grid in _comparisons(table, case.dataset, labels, measure, metric):
            values |= _reduce(measure, grid, f"{metric} {name}".strip() if len(metrics) > 1 else name, may_omit)
    if missing := [name for name, sample in values.items() if not np.isfinite(sample.values)]:
        message = f"{measure.metric} of {place} has no finite value at {'; '.join(missing)}"
        raise NotMeasuredError(message.removesuffix(" at "))
    own = [table.rows(metrics[0], measure.split, "")[case.dataset, label] for label in labels.values()]
    sigmas = [sigma for sigma in choose_levels(measure.sigma, own[0].means) if sigma]
    fits, datasets = (facts[facts["dataset"] == case.dataset] for facts in (table.results.fits, table.results.datasets))
    facts = {
        "images": min(row.images for row in own),
        "seeds": min(row.seeds for row in own),
        "levels": len(sigmas),
        "decibels": float(np.ptp(input_psnr(sigmas))) if sigmas else 0,
        "N": max(labels),
        "side": min(float(datasets[axis].astype("float64").min()) for axis in ("height", "width")),
        "steps": float(fits.loc[fits["entrant"].map(base_label) == case.entrant, "steps"].astype("float64").min()),
    }
    is_plain = measure.scale == "linear" and not (measure.minus or measure.over or measure.slope)
    scale = table.results.scale_of(measure.metric) if is_plain else "linear"
    sample = statistics.join(list(values.values()), functools.partial(np.stack, axis=-1))
    return Quantity(list(values), sample, scale, facts)


def _comparisons(
    table: Table, dataset: str, labels: Mapping[float, str], measure: Measure, metric: str
) -> Iterator[tuple[str, Grid]]:
    """Yield the means of a metric compared with each other metric or entrant, and the name of the comparison."""
    own = table.grid(dataset, metric, measure.split, labels, measure.scale)
    other = measure.minus or measure.over
    if other is None:
        yield "", own
        return
    where, split = other.dataset.replace("{dataset}", dataset) or dataset, other.split or measure.split
    own_base, known = base_label(next(iter(labels.values()))), table.entrants.get(where, [])
    bases = [own_base]
    if other.entrant:
        skipped = {own_base, *map(base_label, table.results.left_out.get(where, ()))}
        bases = [base for base in dict.fromkeys(map(base_label, known)) if matches(base, other.entrant)]
        bases = [base for base in bases if base not in skipped]
    if not bases:
        raise NotMeasuredError(f"no {other.entrant} on {where} to compare with")
    # The logarithm of a ratio is a difference of logarithms.
    combine = statistics.divide if measure.over and measure.scale == "linear" else _difference
    is_same_row = measure.minus and not (other.entrant or other.dataset or other.split or metric in table.ratios)
    names = [name for pattern in other.metrics or (metric,) for name in table.metrics(pattern, where, split)]
    for base, name in itertools.product(bases, names):
        if is_same_row and {(dataset, label) for label in labels.values()} <= table.rows(metric, split, name).keys():
            # The difference varies less from image to image and from seed to seed than both metrics do.
            grid = table.grid(dataset, metric, split, labels, "linear", minus=name)
        else:
            rows = {number: base + label.removeprefix(own_base) for number, label in labels.items()}
            rows = {number: label if label in known else base for number, label in rows.items()}
            second = table.grid(where, name, split, rows, measure.scale)
            grid = {key: combine(mean, second[key]) for key, mean in own.items() if key in second}
        texts = ["minus" if measure.minus else "over", base if other.entrant else "", where if other.dataset else ""]
        texts += [name if other.metrics else "", f"split {split}" if other.split else ""]
        yield " ".join(filter(None, texts)), grid


def _difference(first: SampledMeans, second: SampledMeans) -> SampledMeans:
    return statistics.total([first, second.apply(np.negative)])


def _reduce(measure: Measure, grid: Grid, name: str, may_omit: bool) -> dict[str, SampledMeans]:
    """Return the values of a measure by name, from the means of one metric or comparison."""
    sigmas = choose_levels(measure.sigma, {sigma for _, sigma in grid})
    combines_levels = measure.sigma.at or measure.sigma.take != "each" or measure.slope == "input-psnr"
    may_omit = may_omit and not combines_levels
    chosen = {key: mean for key, mean in grid.items() if key[1] in sigmas and not (may_omit and np.isnan(mean.values))}
    if not chosen:
        known = ", ".join(dict.fromkeys(level_name(sigma) for _, sigma in grid))
        raise NotMeasuredError(f"{measure.metric} is not known at σ = {measure.sigma}; it is at {known}")
    if measure.slope == "input-psnr" or measure.sigma.take == "mean":
        chosen = _reduce_axis(chosen, 1, input_psnr if measure.slope == "input-psnr" else None)
    if measure.slope == "log10-N" or (measure.number is not None and measure.number.take == "mean"):
        chosen = _reduce_axis(chosen, 0, np.log10 if measure.slope == "log10-N" else None)
    values = {}
    for (number, sigma), mean in chosen.items():
        texts = (f"N = {number:g}" if number else "", f"σ = {level_name(sigma)}" if sigma else "", name)
        values[", ".join(filter(None, texts))] = mean
    return values


def _reduce_axis(grid: Grid, axis: int, transform: Callable[[list[float]], Array] | None) -> Grid:
    """Reduce an axis of means to their mean, or to their slope against a function of the numbers on the axis."""
    groups: dict[float, dict[float, SampledMeans]] = {}
    for key, mean in grid.items():
        groups.setdefault(key[1 - axis], {})[key[axis]] = mean
    reduced = {}
    for other, group in groups.items():
        if transform is not None and len(group) < 2:
            raise NotMeasuredError("a slope needs two noise levels, or two numbers of training images")
        count = len(group)
        weights = np.full(count, 1 / count) if transform is None else fit_slope(transform([*group]), np.eye(count))
        means = statistics.join(list(group.values()), functools.partial(np.stack, axis=-1))
        reduced[(other, 0.0) if axis else (0.0, other)] = means.apply(functools.partial(np.dot, b=weights))
    return reduced


def _intervals(quantities: Sequence[Quantity]) -> list[Interval]:
    """Return all values with simultaneous intervals."""
    values = np.concatenate([quantity.sample.values for quantity in quantities])
    draws = np.concatenate([quantity.sample.truths(quantity.scale) for quantity in quantities], axis=1)
    ends = statistics.simultaneous_intervals(values, draws)
    return [Interval(*map(float, row)) for row in zip(values, *ends, strict=True)]


def measure_cases(claim: Claim, table: Table) -> Iterator[tuple[Case, Quantity | None]]:
    """Yield the cases of a claim in a table with their values; without values, the case has a reason."""
    measure = claim.measure
    for dataset, labels in table.entrants.items():
        labels = [label for label in labels if (split_label(label)[1] is None) == (measure.number is None)]
        for entrant in dict.fromkeys(map(base_label, labels)):
            is_chosen = _is_any(dataset, measure.datasets) and _is_any(entrant, measure.entrants)
            if is_chosen and not _is_any(entrant, measure.without):
                case = Case(table.name, dataset, entrant)
                try:
                    quantity = measure_quantity(table, case, measure)
                    _check_conditions(claim, table, case, quantity)
                    yield case, quantity
                except NotMeasuredError as error:
                    yield replace(case, reason=str(error)), None


def _is_any(label: str, patterns: Iterable[str]) -> bool:
    return any(matches(label, pattern) for pattern in patterns)


def _check_conditions(claim: Claim, table: Table, case: Case, quantity: Quantity) -> None:
    """Raise unless a case meets the conditions of a claim."""
    for condition in claim.requires:
        if condition.measure is not None:
            name = " ".join(filter(None, (condition.measure.slope and "slope of", condition.measure.metric)))
            estimates = _intervals([measure_quantity(table, case, condition.measure)])
        else:
            name = str(condition.fact)
            estimates = [Interval(*[float(quantity.facts[name])] * 3)]
        for estimate in estimates:
            if condition.region.outcome(estimate.low, estimate.high) != "holds":
                value = f"{estimate.value:g}".replace("nan", "unknown")
                raise NotMeasuredError(
                    f"{name} of {case.entrant} on {case.dataset}: {value}, needed {condition.region}"
                )


def judge(name: str, claim: Claim, cases: Sequence[tuple[Case, Quantity | None]]) -> Verdict:
    """Return the verdict on a claim in cases with their values."""
    measured = [(case, quantity) for case, quantity in cases if quantity is not None]
    estimates = iter(_intervals([quantity for _, quantity in measured]) if measured else ())
    judged = []
    for case, quantity in measured:
        # The names come first, so that zip takes no estimate of the next case.
        at, worst = min(zip(quantity.names, estimates, strict=False), key=lambda pair: _sort_key(pair[1], claim.region))
        images, reason = quantity.facts["images"], ""
        if math.isnan(worst.low):
            few = f"{images} independent images, and {MIN_SOURCES} are needed"
            other = "there is only one seed, or the denominator may be 0"
            reason = f"no interval: {few if 0 < images < MIN_SOURCES else other}"
        outcome = claim.region.outcome(worst.low, worst.high)
        judged.append(replace(case, outcome=outcome, estimate=worst, at=at, count=len(quantity.names), reason=reason))
    judged.sort(key=lambda case: _sort_key(case.estimate, claim.region))
    return Verdict(name, claim, (*judged, *(case for case, quantity in cases if quantity is None)))


def _sort_key(interval: Interval, region: Region) -> tuple[int, float]:
    """Return a sort key: failing values come first, then undecided values, each from the least favourable."""
    if math.isnan(interval.low):
        return 2, 0.0
    half_width = (interval.high - interval.low) / 2
    distance = min(interval.value - region.low, region.high - interval.value)
    # Without variation, the distance is infinitely many half widths.
    scaled = distance / max(half_width, 1e-300)
    return {"fails": 0, "undecided": 1}.get(region.outcome(interval.low, interval.high), 3), scaled


@functools.lru_cache(maxsize=1)
def known_claims(registry: Registry) -> dict[str, Claim]:
    """Return the claims of a registry by ``paper/claim``, in order of registration."""
    papers = {plugin.name: registry.create("claim", plugin.name) for plugin in registry.plugins("claim")}
    return {f"{paper}/{claim.id}": claim for paper, claims in papers.items() for claim in claims}


def judge_claims(registry: Registry, results: Iterable[tuple[str, Results]], only: Sequence[str] = ()) -> list[Verdict]:
    """Return the verdicts of results, by the names of their folders, on the claims that match a pattern."""
    known = known_claims(registry)
    # A pattern matches the paper, the claim or both.
    names = {name: (name, *name.split("/")) for name in known}
    for pattern in only:
        if not any(matches(text, pattern) for texts in names.values() for text in texts):
            papers = dict.fromkeys(paper for _, paper, _ in names.values())
            raise ParameterError(f"no claim matches '{pattern}'; there are claims of {listing(papers)}")
    chosen = [name for name, texts in names.items() if not only or any(_is_any(text, only) for text in texts)]
    cases: dict[str, list[tuple[Case, Quantity | None]]] = {name: [] for name in chosen}
    for folder, folder_results in results:
        # Only one table at a time is kept in memory.
        table = Table(folder, folder_results)
        for name in cases:
            cases[name] += measure_cases(known[name], table)
    return [judge(name, known[name], claim_cases) for name, claim_cases in cases.items()]


def claims(*folders: str | Path, only: Sequence[str] = (), plugins: Sequence[str | Path] = ()) -> list[Verdict]:
    """Return the verdict of results on each known claim of a publication.

    Parameters
    ----------
    *folders
        Results folders, or folders that contain results folders. Without folders, no claim is measured.
    only
        Names of papers or claims, ``paper/claim``, or patterns of these; all claims by default.
    plugins
        Plugin files, YAML files of claims, or folders of plugin files.

    Returns
    -------
    list of Verdict
        One verdict for each claim, with its cases: the outcome is ``holds``, ``fails``, ``undecided`` or
        ``not measured``.

    Raises
    ------
    ParameterError
        If a pattern matches no claim; the message lists the papers.
    ResultsError
        If a folder holds no results, or its results cannot be read.
    SuiteError
        If a file of claims is invalid.

    Examples
    --------
    In a clone of the repository:

    >>> import gahbench
    >>> [verdict] = gahbench.claims("results/quick", only=["kadkhodaie-2024/discs-slope"])
    >>> verdict.outcome, round(verdict.decisive.estimate.value, 2)
    ('holds', 0.87)
    """
    paths: list[Path] = []
    for folder in map(Path, folders):
        files = [folder / INDEX] if (folder / INDEX).is_file() else sorted(folder.glob(f"*/{INDEX}"))
        if not files:
            raise ResultsError(f"{folder}: holds no results; expected {INDEX}, or */{INDEX}")
        paths += [file.parent for file in files]
    names = short_names(paths) if paths else []
    results = ((name, load_results(path)) for name, path in zip(names, paths, strict=True))
    return judge_claims(open_registry(plugins), results, only)
