"""Verdicts on claims: whether tidy tables of results support statements of publications.

A claim has a region in which its values must lie, for every noise level, basis or number of images that it names. A
case is a pair of dataset and entrant in a results folder. The 95 % intervals of all values of all cases are
simultaneous (:func:`gahbench.board.statistics.simultaneous_intervals`). A claim **holds** if all intervals lie in the
region, **fails** if an interval is disjoint from the region, and is **undecided** otherwise. It is **not measured**,
with a reason, if a value is missing or not finite, or the conditions of the claim are not met.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gahbench._util.errors import ParameterError, listing
from gahbench._util.readable import level_name
from gahbench.board import statistics
from gahbench.board.cube import ScoreCube, cubes_by_images, join_levels, left_out_part, ratios_of, spreads_of
from gahbench.board.optimality import DISTANCE, OPTIMAL_ERROR
from gahbench.board.results import INDEX, Results, load_results
from gahbench.board.statistics import DRAWS, MIN_SOURCES, UNKNOWN, Array, Interval, IntervalScale, SampledMeans
from gahbench.contracts.claims import Claim, Levels, Measure, Outcome, Region
from gahbench.contracts.row_labels import base_label, is_chosen, matches, split_label
from gahbench.evaluation.rates import fit_slope, input_psnr
from gahbench.registry.registry import Registry, open_registry
from gahbench.store.plan_file import short_names

#: Name of the distance from the optimum in dB, as on boards.
DEFICIT = "deficit"
#: Values of a measure in one case by name, each as an array (1 + D,) of the value and its draws.
Values = dict[str, Array]


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
    """Means (S,) of a metric for a row of results; the noise level is 0 without one, and images are 0 if unknown."""

    sigmas: list[float]
    sample: SampledMeans
    images: int


class Table:
    """The results of one folder as means of metrics with their samples, each of which is computed once."""

    def __init__(self, name: str, results: Results) -> None:
        self.name, self.results = name, results
        #: Datasets with white Gaussian noise, which claims are about.
        self.datasets = [dataset for dataset, row in results.facts.items() if not row.noise]
        #: Labels of rows by dataset, entrant and number of training images: 0 outside of sweeps, infinity for all.
        self.labels: dict[tuple[str, str], dict[float, str]] = {}
        scored = set(results.scores[["dataset", "entrant"]].drop_duplicates().itertuples(index=False, name=None))
        for dataset, label in itertools.product(self.datasets, results.entrants):
            if (dataset, label) in scored:
                entrant, number = split_label(label)
                self.labels.setdefault((dataset, entrant), {})[float((number or "0").replace("all", "inf"))] = label
        #: The numerator and the denominator of ratios, by the name of the ratio.
        self.ratios = ratios_of(results) | {DEFICIT: (DISTANCE, OPTIMAL_ERROR)}
        #: Rows by dataset and label, as a function of metric, split and a metric to subtract.
        self.rows = functools.cache(self._load_rows)

    def metrics(self, pattern: str, dataset: str, split: str) -> list[str]:
        """Return the names of metrics that match a pattern and were measured on a dataset and split."""
        names = {metric for *place, metric in self.results.rows if place == [dataset, split]}
        names |= {ratio for ratio, parts in self.ratios.items() if {*parts} <= names}
        if not (chosen := sorted(name for name in names if fnmatchcase(name, pattern.replace("[", "[[]")))):
            raise NotMeasuredError(f"no {pattern} on {dataset}, split {split}")
        return chosen

    def find_rows(self, dataset: str, metric: str, split: str, labels: Iterable[str]) -> list[Row]:
        """Return the rows with these labels; raise if a row is left out or has no value."""
        left_out, rows = self.results.left_out.get(dataset, {}), self.rows(metric, split, "")
        for label in labels:
            if label in left_out:
                raise NotMeasuredError(f"{label} on {dataset} is left out, {left_out[label]}")
            if (dataset, label) not in rows:
                raise NotMeasuredError(f"no {metric} of {label} on {dataset}, split {split}")
        return [rows[dataset, label] for label in labels]

    def _load_rows(self, metric: str, split: str, minus: str) -> dict[tuple[str, str], Row]:
        ratio, cubes = self.ratios.get(metric), list[tuple[str, ScoreCube]]()
        parts = ratio or [metric, *filter(None, [minus])]
        for dataset in self.datasets:
            # There is a cube for each set of images.
            for cube, *others in cubes_by_images(self.results, dataset, parts, split, self.results.entrants):
                if ratio:
                    cubes.append((dataset, join_levels(cube, *others)))
                elif not minus or cube.images == others[0].images:
                    values = cube.values - others[0].reindex_like(cube) if minus else cube.values
                    cubes.append((dataset, replace(cube, values=values)))
        # The variance between training runs is pooled over datasets.
        spreads = spreads_of(cube for _, cube in cubes)
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
                levels, sigmas = range(len(sigmas)), sigmas[: len(sigmas) // 2]
                sample = statistics.divide(sample.at(levels[: len(sigmas)]), sample.at(levels[len(sigmas) :]))
            if metric == DEFICIT:
                shifted = sample.apply(np.asarray, 1 + np.maximum(sample.values, 0))
                sample = _log10(shifted).apply(functools.partial(np.multiply, 10))
            rows |= {(dataset, label): Row(sigmas, sample.row(i), images) for i, label in enumerate(cube.entrants)}
        return rows


def _log10(sample: SampledMeans) -> SampledMeans:
    """Return logarithms of means, with deviations to first order; NaN where a mean is not positive."""
    positive = np.where(sample.values > 0, sample.values, np.nan)
    return sample.apply(lambda array: array / positive / math.log(10), np.log10(positive))


def measure(table: Table, case: Case, query: Measure) -> tuple[Values, dict[str, float]]:
    """Return the values of a measure in one case, and facts about the case."""
    dataset, entrant, split, values = case.dataset, case.entrant, query.split, Values()
    known = table.labels[dataset, entrant]
    numbers = [0.0] if query.number is None else query.number.choose(filter(None, known))
    if not numbers:
        raise NotMeasuredError(f"{entrant} on {dataset} has no row for N = {query.number}")
    metrics, labels = table.metrics(query.metric, dataset, split), {number: known[number] for number in numbers}
    for metric in metrics:
        omits = (dataset, split, left_out_part(metric)) in table.results.rows
        # Levels at which a metric leaves out all images do not count, unless the levels are combined.
        may_omit = omits and query.sigma.take == "each" and not query.sigma.at
        for text, own, other in _comparisons(table, case, query, metric, labels):
            name = f"{metric} {text}".strip() if len(metrics) > 1 else text
            for level, column in _reduce(query, numbers, own, other, table.results.scale_of(metric)):
                if not (may_omit and np.isnan(column[0])):
                    values[", ".join(filter(None, (level, name)))] = column
    missing = [name for name, column in values.items() if not np.isfinite(column[0])]
    if missing or not values:
        message = f"{query.metric} of {entrant} on {dataset} has no finite value at {'; '.join(missing)}"
        raise NotMeasuredError(message.removesuffix(" at "))
    rows = table.find_rows(dataset, metrics[0], split, labels.values())
    fits, datasets = (facts[facts["dataset"] == dataset] for facts in (table.results.fits, table.results.datasets))
    facts: dict[str, float] = {
        "images": min(row.images for row in rows),
        "levels": int(np.count_nonzero(query.sigma.choose(rows[0].sigmas))),
        "N": max(numbers),
        "side": float(datasets[["height", "width"]].astype("float64").min().min()),
        "steps": float(fits.loc[fits["entrant"].map(base_label) == entrant, "steps"].astype("float64").min()),
    }
    return values, facts


def _comparisons(
    table: Table, case: Case, query: Measure, metric: str, labels: Mapping[float, str]
) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """Yield the name of each comparison, the rows by number of images, and the rows that they are compared with."""
    own, other = table.find_rows(case.dataset, metric, query.split, labels.values()), query.minus or query.over
    if other is None:
        yield "", own, []
        return
    where, split = other.dataset.replace("{dataset}", case.dataset) or case.dataset, other.split or query.split
    entrants = [case.entrant]
    if other.entrant:
        skipped = {case.entrant, *map(base_label, table.results.left_out.get(where, ()))}
        entrants = [name for dataset, name in table.labels if dataset == where and matches(name, other.entrant)]
        entrants = [name for name in entrants if name not in skipped]
    if not entrants:
        raise NotMeasuredError(f"no {other.entrant} on {where} to compare with")
    metrics = [name for pattern in other.metrics or (metric,) for name in table.metrics(pattern, where, split)]
    is_same_row = query.minus and not (other.entrant or other.dataset or other.split or metric in table.ratios)
    for entrant, name in itertools.product(entrants, metrics):
        texts = ("minus" if query.minus else "over", other.entrant and entrant, other.dataset and where)
        text = " ".join(filter(None, (*texts, name if other.metrics else "", other.split and f"split {split}")))
        differences = table.rows(metric, split, name) if is_same_row else {}
        if all((where, label) in differences for label in labels.values()):
            # The difference varies less from image to image and from seed to seed than both metrics do.
            yield text, [differences[where, label] for label in labels.values()], []
        else:
            others = [table.labels.get((where, entrant), {}).get(number, entrant) for number in labels]
            yield text, own, table.find_rows(where, name, split, others)


def _reduce(
    query: Measure, numbers: list[float], own: Sequence[Row], other: Sequence[Row], scale: IntervalScale
) -> Iterator[tuple[str, Array]]:
    """Yield the values of a measure with their levels, from rows by number of images, and rows to compare with."""
    sigmas = query.sigma.choose(set.intersection(*(set(row.sigmas) for row in (*own, *other))))
    if not sigmas:
        known = ", ".join(map(level_name, own[0].sigmas))
        raise NotMeasuredError(f"{query.metric} is not known at σ = {query.sigma}; it is at {known}")
    sample = _stack(own, sigmas)
    if other:
        compared = _stack(other, sigmas)
        negative = compared.apply(np.negative)
        sample = statistics.divide(sample, compared) if query.over else statistics.total([sample, negative])
    if query.these_images:
        sample = replace(sample, deviations={MIN_SOURCES: np.zeros((MIN_SOURCES, *sample.values.shape))})
    sample = _log10(sample) if query.scale == "log10" else sample
    sample, sigmas = _reduce_axis(sample, -1, query.sigma, sigmas, input_psnr)
    sample, numbers = _reduce_axis(sample, -2, query.number or Levels(), numbers, np.log10)
    is_slope = "slope" in (query.sigma.take, query.number and query.number.take)
    is_mean = not (is_slope or query.minus or query.over or query.scale == "log10")
    columns = np.concatenate([sample.values[None], sample.truths(scale if is_mean else "linear")])
    for (row, number), (index, sigma) in itertools.product(enumerate(numbers), enumerate(sigmas)):
        level = (f"N = {number:g}" if number else "", f"σ = {level_name(sigma)}" if sigma else "")
        yield ", ".join(filter(None, level)), columns[:, row, index]


def _stack(rows: Sequence[Row], sigmas: Sequence[float]) -> SampledMeans:
    """Return the means of rows at noise levels, shape (rows, levels)."""
    samples = [row.sample.at([row.sigmas.index(sigma) for sigma in sigmas]) for row in rows]
    return statistics.join(samples, functools.partial(np.stack, axis=-2))


def _reduce_axis(
    sample: SampledMeans, axis: int, wanted: Levels, levels: list[float], transform: Callable[[list[float]], Array]
) -> tuple[SampledMeans, list[float]]:
    """Reduce an axis of means to their mean, or to their slope against a function of the levels on the axis."""
    if wanted.take not in ("mean", "slope"):
        return sample, levels
    weights = np.full(len(levels), 1 / len(levels))
    if wanted.take == "slope":
        if len(levels) < 2:
            raise NotMeasuredError("a slope needs two noise levels, or two numbers of training images")
        weights = fit_slope(transform(levels), np.eye(len(levels)))
    return sample.apply(lambda array: np.expand_dims(np.tensordot(array, weights, (axis, 0)), axis)), [0.0]


def _intervals(values: Iterable[Array]) -> list[Interval]:
    """Return values with simultaneous intervals."""
    columns = np.stack(list(values), axis=1)
    ends = statistics.simultaneous_intervals(columns[0], columns[1:])
    return [Interval(*map(float, row)) for row in zip(columns[0], *ends, strict=True)]


def measure_cases(claim: Claim, table: Table) -> Iterator[tuple[Case, Values]]:
    """Yield the cases of a claim in a table with their values; without values, the case has a reason."""
    query = claim.measure
    for (dataset, entrant), labels in table.labels.items():
        is_wanted = is_chosen(dataset, query.datasets) and is_chosen(entrant, query.entrants)
        has_rows = 0 in labels if query.number is None else any(labels)
        if is_wanted and has_rows and not any(matches(entrant, pattern) for pattern in query.without):
            case = Case(table.name, dataset, entrant)
            try:
                values, facts = measure(table, case, query)
                _check_conditions(claim, table, case, facts)
                # This is why there is no interval, if there is none.
                few = f"{facts['images']} independent images, and {MIN_SOURCES} are needed"
                other = "there is only one seed, or the denominator may be 0"
                yield replace(case, reason=few if 0 < facts["images"] < MIN_SOURCES else other), values
            except NotMeasuredError as error:
                yield replace(case, reason=str(error)), {}


def _check_conditions(claim: Claim, table: Table, case: Case, facts: Mapping[str, float]) -> None:
    """Raise unless a case meets the conditions of a claim."""
    for condition in claim.requires:
        query = condition.measure
        name = str(condition.fact) if query is None else query.metric
        values = {name: np.full(2, facts[name])} if query is None else measure(table, case, query)[0]
        for estimate in _intervals(values.values()):
            if condition.region.outcome(estimate.low, estimate.high) != "holds":
                value, place = f"{estimate.value:g}".replace("nan", "unknown"), f"{case.entrant} on {case.dataset}"
                raise NotMeasuredError(f"{name} of {place}: {value}, needed {condition.region}")


def judge(name: str, claim: Claim, cases: Sequence[tuple[Case, Values]]) -> Verdict:
    """Return the verdict on a claim in cases with their values."""
    columns = [column for _, values in cases for column in values.values()]
    estimates, judged = iter(_intervals(columns) if columns else ()), list[Case]()
    for case, values in cases:
        if values:
            named = [(name, next(estimates)) for name in values]
            at, worst = min(named, key=lambda pair: _sort_key(pair[1], claim.region))
            reason = f"no interval: {case.reason}" if math.isnan(worst.low) else ""
            outcome = claim.region.outcome(worst.low, worst.high)
            case = replace(case, outcome=outcome, estimate=worst, at=at, count=len(values), reason=reason)
        judged.append(case)
    judged.sort(key=lambda case: (case.outcome == "not measured", _sort_key(case.estimate, claim.region)))
    return Verdict(name, claim, tuple(judged))


def _sort_key(interval: Interval, region: Region) -> tuple[int, float]:
    """Return a sort key: failing values come first, then undecided values, each from the least favourable."""
    if math.isnan(interval.low):
        return 2, 0.0
    distance = min(interval.value - region.low, region.high - interval.value)
    # Without variation, the distance is infinitely many half widths.
    half_width = max((interval.high - interval.low) / 2, 1e-300)
    return {"fails": 0, "undecided": 1}.get(region.outcome(interval.low, interval.high), 3), distance / half_width


def judge_claims(registry: Registry, results: Iterable[tuple[str, Results]], only: Sequence[str] = ()) -> list[Verdict]:
    """Return the verdicts of results, by the names of their folders, on the claims that match a pattern."""
    papers = {plugin.name: registry.create("claim", plugin.name) for plugin in registry.plugins("claim")}
    known = {f"{paper}/{claim.id}": claim for paper, claims in papers.items() for claim in claims}
    chosen: dict[str, Claim] = {}
    for pattern in only or ("*",):
        # A pattern matches the paper, the claim or both.
        names = [name for name in known if any(matches(text, pattern) for text in (name, *name.split("/")))]
        if not names:
            raise ParameterError(f"no claim matches '{pattern}'; there are claims of {listing(papers)}")
        chosen |= {name: known[name] for name in names}
    cases: dict[str, list[tuple[Case, Values]]] = {name: [] for name in chosen}
    for folder, folder_results in results:
        # Only one table at a time is kept in memory.
        table = Table(folder, folder_results)
        for name, claim in chosen.items():
            cases[name] += measure_cases(claim, table)
    return [judge(name, claim, cases[name]) for name, claim in chosen.items()]


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
        files = [] if (folder / INDEX).is_file() else sorted(folder.glob(f"*/{INDEX}"))
        paths += [file.parent for file in files] or [folder]
    results = zip(short_names(paths), map(load_results, paths), strict=True) if paths else ()
    return judge_claims(open_registry(plugins), results, only)
