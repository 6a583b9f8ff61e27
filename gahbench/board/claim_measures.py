"""The quantity that a claim is about, in one case: a dataset and an entrant of one results folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gahbench._util.errors import listing
from gahbench._util.readable import level_name
from gahbench.board.claim_values import MetricCurve, Table, numbers
from gahbench.board.statistics import Array
from gahbench.contracts.claims import Compared, Fact, Levels, Measure, Scale
from gahbench.contracts.row_labels import base_label, matches, split_label
from gahbench.evaluation.rates import fit_slope, input_psnr

#: Levels that differ by less than this share are equal.
_SAME = 0.05


class NotMeasuredError(Exception):
    """The results lack what a measure asks for; the message says what is missing."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """The values of a measure in one case, all of which a claim is about."""

    names: tuple[str, ...]
    values: Array
    draws: Array
    images: int
    seeds: int
    seed_share: float
    sigmas: tuple[float, ...] = ()
    numbers: tuple[float, ...] = ()
    has_sources: bool = False

    def fact(self, name: Fact) -> float:
        """Return a fact of it; NaN if it is not known."""
        levels = [sigma for sigma in self.sigmas if not math.isnan(sigma)]
        known = {
            "images": self.images,
            "seeds": self.seeds,
            "levels": len(levels),
            "decibels": float(np.ptp(input_psnr(levels))) if levels else 0.0,
            "N": max(self.numbers, default=math.nan),
        }
        return float(known.get(name, math.nan))


def rows_of(table: Table, dataset: str, measure: Measure) -> list[str]:
    """Return the entrants of a dataset that a measure is about, without their numbers of images."""
    is_swept = measure.number is not None
    labels = [label for label in table.entrants(dataset) if (split_label(label)[1] is not None) == is_swept]
    bases = dict.fromkeys(map(base_label, labels))
    return [
        label
        for label in bases
        if any(matches(label, one) for one in measure.entrants)
        and not any(matches(label, one) for one in measure.without)
    ]


def quantity(table: Table, dataset: str, entrant: str, measure: Measure) -> Quantity:
    """Return the values of a measure in one case."""
    rows = _rows(table, dataset, entrant, measure.number)
    metrics = _metrics(table, measure.metric, dataset, measure.split)
    found = []
    for metric in metrics:
        for name, courses in _compared(table, dataset, rows, measure, metric):
            found.append(_reduced(measure, courses, tuple(rows), name if name or len(metrics) == 1 else metric))
    return _joined(found)


def _rows(table: Table, dataset: str, entrant: str, wanted: Levels | None) -> dict[float, str]:
    """Return the labels of a case's rows by number of training images; NaN for none."""
    if wanted is None:
        return {math.nan: entrant}
    known = numbers(table.entrants(dataset), entrant)
    rows = list(known.items())
    places = chosen(wanted, list(known))
    if not places:
        held = ", ".join(f"{number:g}" for number in known) or "none"
        raise NotMeasuredError(f"{entrant} on {dataset} has no row for N = {wanted}; there are {held}")
    return dict(rows[place] for place in places)


def chosen(wanted: Levels, known: Sequence[float]) -> list[int]:
    """Return the places of the levels that are asked for among known ones, ascending; none if one is missing."""
    places = [place for place, level in enumerate(known) if wanted.start <= level <= wanted.end]
    if wanted.at:
        near = [[place for place in places if abs(known[place] / level - 1) <= _SAME] for level in wanted.at]
        if not all(near):
            return []
        nearest = zip(near, wanted.at, strict=True)
        places = sorted({min(close, key=lambda one: abs(known[one] - level)) for close, level in nearest})
    return places[:1] if wanted.take == "lowest" else places[-1:] if wanted.take == "highest" else places


def _metrics(table: Table, pattern: str, dataset: str, split: str) -> list[str]:
    found = table.metrics(pattern, dataset, split)
    if not found:
        raise NotMeasuredError(f"no {pattern} on {dataset}{'' if split == 'test' else f', split {split}'}")
    return found


def _compared(
    table: Table, dataset: str, rows: dict[float, str], measure: Measure, metric: str
) -> list[tuple[str, list[MetricCurve]]]:
    """Return courses of a metric for each of the rows, or of its comparisons, each with its name."""
    own = [_course(table, metric, measure.split, dataset, label, measure.scale) for label in rows.values()]
    other = measure.minus or measure.over
    if other is None:
        return [("", own)]
    sign = "minus" if measure.minus is not None else "over"
    place = other.dataset.replace("{dataset}", dataset) or dataset
    split = other.split or measure.split
    found = []
    for compared in [name for one in other.metrics or (metric,) for name in _metrics(table, one, place, split)]:
        shown = [compared] if other.metrics else []
        elsewhere = place != dataset or other.entrant or other.split or other.number
        if sign == "minus" and other.metrics and not elsewhere:
            found.append((f"minus {compared}", _paired(table, measure, metric, compared, dataset, rows, own)))
            continue
        for label, labels in _other_rows(table, place, rows, other).items():
            against = [_course(table, compared, split, place, one, measure.scale) for one in labels]
            # The logarithm of a ratio is the difference of two.
            divides = sign == "over" and measure.scale == "linear"
            both = [_combined(one, two, divides) for one, two in zip(own, against, strict=True)]
            extra = [*([label] if other.entrant else []), *([place] if other.dataset else []), *shown]
            extra += [f"split {split}"] if other.split else []
            extra += [f"N = {other.number}"] if other.number else []
            found.append((f"{sign} {' '.join(extra)}", both))
    return found


def _paired(
    table: Table,
    measure: Measure,
    metric: str,
    other: str,
    dataset: str,
    rows: dict[float, str],
    own: list[MetricCurve],
) -> list[MetricCurve]:
    """Return differences of two metrics of the same rows, image by image where both are of images."""
    against = [_course(table, other, measure.split, dataset, label, "linear") for label in rows.values()]
    found = []
    for label, one, two in zip(rows.values(), own, against, strict=True):
        exact = None
        if metric not in table.ratio_names and other not in table.ratio_names and one.images == two.images:
            exact = table.courses(dataset, metric, measure.split, other).get(label)
        found.append(_combined(one, two, divides=False) if exact is None else exact)
    return found


def _other_rows(table: Table, dataset: str, rows: dict[float, str], other: Compared) -> dict[str, list[str]]:
    """Return the rows that are compared with, for each of the entrants that match."""
    there = table.entrants(dataset)
    bases = list(dict.fromkeys(map(base_label, rows.values())))
    if other.entrant:
        bases = [base for base in dict.fromkeys(map(base_label, there)) if matches(base, other.entrant)]
        bases = [base for base in bases if base not in set(map(base_label, rows.values()))]
        # An entrant that is left out does not take comparisons with others away, unless there is no other.
        out = set(map(base_label, table.left_out(dataset)))
        bases = [base for base in bases if base not in out] or bases
        if not bases:
            raise NotMeasuredError(f"no {other.entrant} on {dataset} to compare with")
    found = {}
    for base in bases:
        known = numbers(there, base)
        if other.number is not None:
            places = chosen(other.number, list(known))
            if len(places) != 1:
                raise NotMeasuredError(f"{base} on {dataset} has no one row for N = {other.number}")
            found[base] = [known[list(known)[places[0]]]] * len(rows)
            continue
        labels = [known.get(number, base) for number in rows]
        if missing := [label for label in labels if label not in there]:
            raise NotMeasuredError(f"no {listing(missing)} on {dataset} to compare with")
        found[base] = labels
    return found


def _course(table: Table, metric: str, split: str, dataset: str, label: str, scale: Scale) -> MetricCurve:
    if why := table.left_out(dataset).get(label):
        raise NotMeasuredError(f"{label} on {dataset} is left out, {why}")
    if scale == "log10" and metric in table.ratio_names:
        raise NotMeasuredError(f"{metric} is a ratio of means, and scale: log10 is of values")
    found = table.courses(dataset, metric, split, scale=scale).get(label)
    if found is None:
        above = " above 0 in every training" if scale == "log10" else ""
        where = f"{dataset}{'' if split == 'test' else f', split {split}'}"
        raise NotMeasuredError(f"no {metric}{above} of {label} on {where}")
    return found


def _at(course: MetricCurve, sigmas: Sequence[float]) -> MetricCurve:
    keys = [repr(float(sigma)) for sigma in course.sigmas]
    places = [keys.index(repr(float(sigma))) for sigma in sigmas]
    return replace(course, sigmas=tuple(sigmas), values=course.values[places], draws=course.draws[:, places])


def _common(courses: Sequence[MetricCurve]) -> list[float]:
    """Return the noise levels that all courses have; NaN, for none, is one of them."""
    shared = set.intersection(*({repr(float(sigma)) for sigma in one.sigmas} for one in courses))
    found = [sigma for sigma in courses[0].sigmas if repr(float(sigma)) in shared]
    if not found:
        raise NotMeasuredError("what is compared has no noise level in common")
    return found


def _combined(one: MetricCurve, two: MetricCurve, divides: bool) -> MetricCurve:
    sigmas = _common([one, two])
    one, two = _at(one, sigmas), _at(two, sigmas)
    if divides:
        with np.errstate(divide="ignore", invalid="ignore"):
            values, draws = one.values / two.values, one.draws / two.draws
    else:
        values, draws = one.values - two.values, one.draws - two.draws
    return MetricCurve(
        tuple(sigmas),
        values,
        draws,
        _least([one.images, two.images]),
        _least([one.seeds, two.seeds]),
        max(one.seed_share, two.seed_share),
        one.has_sources or two.has_sources,
    )


def _least(counts: Iterable[int]) -> int:
    """Return the least count of images or seeds, without those that are unknown, which are 0."""
    return min(filter(None, counts), default=0)


def _reduced(measure: Measure, courses: list[MetricCurve], counts: tuple[float, ...], name: str) -> Quantity:
    """Return the quantity of one metric and comparison: rows by noise levels, reduced along both."""
    sigmas = _common(courses)
    places = range(len(sigmas)) if np.isnan(sigmas).all() else chosen(measure.sigma, sigmas)
    if not places:
        levels = ", ".join(map(level_name, sigmas))
        raise NotMeasuredError(f"{measure.metric} is not known at σ = {measure.sigma}; it is at {levels}")
    used = [sigmas[place] for place in places]
    cut = [_at(one, used) for one in courses]
    values = np.stack([one.values for one in cut])
    draws = np.stack([one.draws for one in cut], axis=1)
    at_levels = ["" if math.isnan(sigma) else f"σ = {level_name(sigma)}" for sigma in used]
    if measure.slope == "input-psnr":
        if len(used) < 2:
            raise NotMeasuredError(f"a slope needs two noise levels, and there is {level_name(used[0])} alone")
        noisy = input_psnr(used)
        values, draws, at_levels = fit_slope(noisy, values)[:, None], fit_slope(noisy, draws)[..., None], [""]
    elif measure.sigma.take == "mean":
        values, draws, at_levels = values.mean(1, keepdims=True), draws.mean(2, keepdims=True), [""]
    at_rows = ["" if math.isnan(number) else f"N = {number:g}" for number in counts]
    if measure.slope == "log10-N":
        if len(counts) < 2 or not np.isfinite(counts).all():
            raise NotMeasuredError("a slope needs two numbers of training images")
        x = np.log10(counts)
        values, draws, at_rows = fit_slope(x, values.T)[None], fit_slope(x, draws.swapaxes(1, 2))[:, None], [""]
    elif measure.number is not None and measure.number.take == "mean":
        values, draws, at_rows = values.mean(0, keepdims=True), draws.mean(1, keepdims=True), [""]
    names = [", ".join(filter(None, (row, level, name))) for row in at_rows for level in at_levels]
    return Quantity(
        tuple(names),
        values.reshape(-1),
        draws.reshape(len(draws), -1),
        _least(one.images for one in cut),
        _least(one.seeds for one in cut),
        float(np.mean([one.seed_share for one in cut])),
        tuple(used),
        tuple(number for number in counts if not math.isnan(number)),
        any(one.has_sources for one in cut),
    )


def _joined(found: Sequence[Quantity]) -> Quantity:
    first = found[0]
    return replace(
        first,
        names=tuple(name for one in found for name in one.names),
        values=np.concatenate([one.values for one in found]),
        draws=np.concatenate([one.draws for one in found], axis=1),
        images=_least(one.images for one in found),
        seeds=_least(one.seeds for one in found),
        seed_share=float(np.mean([one.seed_share for one in found])),
        has_sources=any(one.has_sources for one in found),
    )
