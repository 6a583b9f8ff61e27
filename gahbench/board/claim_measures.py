"""Measurement of the quantity that a claim is about, in one case: an entrant on a dataset of a results folder."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gahbench._util.errors import listing
from gahbench._util.readable import level_name, pluralize
from gahbench.board.claim_values import MetricCurve, Table, rows_by_number_of_images
from gahbench.board.statistics import Array, IntervalScale, SampledMeans, divide, join, total
from gahbench.contracts.claims import Compared, Fact, Levels, Measure, Scale
from gahbench.contracts.row_labels import base_label, matches, split_label
from gahbench.evaluation.rates import fit_slope, input_psnr

#: Levels that differ by less than this share are treated as equal.
_RELATIVE_TOLERANCE = 0.05


class NotMeasuredError(Exception):
    """The results lack values that a measure needs; the message says which."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """The values (M,) of a measure in one case, with their samples; a claim is about all values."""

    names: tuple[str, ...]
    sample: SampledMeans
    images: int
    seeds: int
    seed_share: float
    sigmas: tuple[float, ...] = ()
    numbers: tuple[float, ...] = ()
    has_sources: bool = False
    scale: IntervalScale = "linear"

    @property
    def values(self) -> Array:
        """The values, shape (M,)."""
        return self.sample.values

    @property
    def draws(self) -> Array:
        """Joint draws of the true values, shape (D, M), whose percentiles are studentised intervals."""
        return self.sample.truths(self.scale)

    def fact(self, name: Fact) -> float:
        """Return a fact about the quantity, such as its number of images; NaN if unknown."""
        known_sigmas = [sigma for sigma in self.sigmas if not math.isnan(sigma)]
        facts = {
            "images": self.images,
            "seeds": self.seeds,
            "levels": len(known_sigmas),
            "decibels": float(np.ptp(input_psnr(known_sigmas))) if known_sigmas else 0.0,
            "N": max(self.numbers, default=math.nan),
        }
        return float(facts.get(name, math.nan))


def measured_entrants(table: Table, dataset: str, measure: Measure) -> list[str]:
    """Return the entrants of a dataset that a measure is about, as labels without numbers of training images."""
    is_swept = measure.number is not None
    labels = [label for label in table.entrants(dataset) if (split_label(label)[1] is not None) == is_swept]
    base_labels = dict.fromkeys(map(base_label, labels))
    return [
        label
        for label in base_labels
        if any(matches(label, pattern) for pattern in measure.entrants)
        and not any(matches(label, pattern) for pattern in measure.without)
    ]


def measure_quantity(table: Table, dataset: str, entrant: str, measure: Measure) -> Quantity:
    """Return the values of a measure in one case."""
    rows = _rows(table, dataset, entrant, measure.number)
    metrics = _metrics(table, measure.metric, dataset, measure.split)
    quantities = []
    for metric in metrics:
        for name, curves in _comparisons(table, dataset, rows, measure, metric):
            quantities.append(_reduce(measure, curves, tuple(rows), name if name or len(metrics) == 1 else metric))
    return _join(quantities)


def _rows(table: Table, dataset: str, entrant: str, wanted: Levels | None) -> dict[float, str]:
    """Return the labels of a case's rows by number of training images; the key is NaN outside sweeps."""
    if wanted is None:
        return {math.nan: entrant}
    rows_by_number = rows_by_number_of_images(table.entrants(dataset), entrant)
    rows = list(rows_by_number.items())
    indices = find_levels(wanted, list(rows_by_number))
    if not indices:
        available = ", ".join(f"{number:g}" for number in rows_by_number) or "none"
        raise NotMeasuredError(f"{entrant} on {dataset} has no row for N = {wanted}; there are {available}")
    return dict(rows[index] for index in indices)


def find_levels(wanted: Levels, known: Sequence[float]) -> list[int]:
    """Return the ascending indices of wanted levels among known levels; empty if a wanted level is missing."""
    indices = [index for index, level in enumerate(known) if wanted.start <= level <= wanted.end]
    if wanted.at:
        near_indices = [
            [index for index in indices if abs(known[index] / level - 1) <= _RELATIVE_TOLERANCE] for level in wanted.at
        ]
        if not all(near_indices):
            return []
        nearest = zip(near_indices, wanted.at, strict=True)
        indices = sorted({min(near, key=lambda index: abs(known[index] - level)) for near, level in nearest})
    return indices[:1] if wanted.take == "lowest" else indices[-1:] if wanted.take == "highest" else indices


def _metrics(table: Table, pattern: str, dataset: str, split: str) -> list[str]:
    metrics = table.metrics(pattern, dataset, split)
    if not metrics:
        raise NotMeasuredError(f"no {pattern} on {dataset}{'' if split == 'test' else f', split {split}'}")
    return metrics


def _comparisons(
    table: Table, dataset: str, rows: dict[float, str], measure: Measure, metric: str
) -> list[tuple[str, list[MetricCurve]]]:
    """Return the name and the curves, one for each row, of each comparison; the name is empty without comparisons."""
    own_curves = [_curve(table, metric, measure.split, dataset, label, measure.scale) for label in rows.values()]
    compared = measure.minus or measure.over
    if compared is None:
        return [("", own_curves)]
    sign = "minus" if measure.minus is not None else "over"
    other_dataset = compared.dataset.replace("{dataset}", dataset) or dataset
    other_split = compared.split or measure.split
    comparisons = []
    patterns = compared.metrics or (metric,)
    other_metrics = [name for pattern in patterns for name in _metrics(table, pattern, other_dataset, other_split)]
    for other_metric in other_metrics:
        metric_names = [other_metric] if compared.metrics else []
        has_other_rows = other_dataset != dataset or compared.entrant or compared.split or compared.number
        if sign == "minus" and compared.metrics and not has_other_rows:
            differences = _paired_differences(table, measure, metric, other_metric, dataset, rows, own_curves)
            comparisons.append((f"minus {other_metric}", differences))
            continue
        for label, labels in _other_rows(table, other_dataset, rows, compared).items():
            other_curves = [
                _curve(table, other_metric, other_split, other_dataset, other_label, measure.scale)
                for other_label in labels
            ]
            # On a logarithmic scale a ratio is a difference of logarithms.
            divides = sign == "over" and measure.scale == "linear"
            both = [_compare(first, second, divides) for first, second in zip(own_curves, other_curves, strict=True)]
            name_parts = [label] if compared.entrant else []
            name_parts += [other_dataset] if compared.dataset else []
            name_parts += metric_names
            name_parts += [f"split {other_split}"] if compared.split else []
            name_parts += [f"N = {compared.number}"] if compared.number else []
            comparisons.append((f"{sign} {' '.join(name_parts)}", both))
    return comparisons


def _paired_differences(
    table: Table,
    measure: Measure,
    metric: str,
    other: str,
    dataset: str,
    rows: dict[float, str],
    curves: list[MetricCurve],
) -> list[MetricCurve]:
    """Return differences of two metrics of the same rows, image by image if both metrics have values for images."""
    other_curves = [_curve(table, other, measure.split, dataset, label, "linear") for label in rows.values()]
    differences = []
    for label, first, second in zip(rows.values(), curves, other_curves, strict=True):
        difference = None
        if metric not in table.ratio_names and other not in table.ratio_names and first.images == second.images:
            difference = table.curves(dataset, metric, measure.split, other).get(label)
        differences.append(_compare(first, second, divides=False) if difference is None else difference)
    return differences


def _other_rows(table: Table, dataset: str, rows: dict[float, str], other: Compared) -> dict[str, list[str]]:
    """Return, for each matching entrant, the labels with which the rows are compared."""
    labels_on_dataset = table.entrants(dataset)
    base_labels = list(dict.fromkeys(map(base_label, rows.values())))
    if other.entrant:
        own_labels = set(base_labels)
        base_labels = [
            base for base in dict.fromkeys(map(base_label, labels_on_dataset)) if matches(base, other.entrant)
        ]
        base_labels = [base for base in base_labels if base not in own_labels]
        # Skip entrants that are left out, unless no other entrant matches.
        left_out_labels = set(map(base_label, table.left_out(dataset)))
        base_labels = [base for base in base_labels if base not in left_out_labels] or base_labels
        if not base_labels:
            raise NotMeasuredError(f"no {other.entrant} on {dataset} to compare with")
    rows_by_base = {}
    for base in base_labels:
        rows_by_number = rows_by_number_of_images(labels_on_dataset, base)
        if other.number is not None:
            indices = find_levels(other.number, list(rows_by_number))
            if len(indices) != 1:
                count = pluralize(len(indices), "row")
                raise NotMeasuredError(f"{base} on {dataset} has {count} for N = {other.number}; expected 1 row")
            rows_by_base[base] = [rows_by_number[list(rows_by_number)[indices[0]]]] * len(rows)
            continue
        labels = [rows_by_number.get(number, base) for number in rows]
        if missing := [label for label in labels if label not in labels_on_dataset]:
            raise NotMeasuredError(f"no {listing(missing)} on {dataset} to compare with")
        rows_by_base[base] = labels
    return rows_by_base


def _curve(table: Table, metric: str, split: str, dataset: str, label: str, scale: Scale) -> MetricCurve:
    if reason := table.left_out(dataset).get(label):
        raise NotMeasuredError(f"{label} on {dataset} is left out, {reason}")
    if scale == "log10" and metric in table.ratio_names:
        raise NotMeasuredError(f"{metric} is a ratio of means; scale: log10 is accepted only for means of values")
    curve = table.curves(dataset, metric, split, scale=scale).get(label)
    if curve is None:
        condition = " above 0 in every training run" if scale == "log10" else ""
        where = f"{dataset}{'' if split == 'test' else f', split {split}'}"
        raise NotMeasuredError(f"no {metric}{condition} of {label} on {where}")
    return curve


def _at_levels(curve: MetricCurve, sigmas: Sequence[float]) -> MetricCurve:
    keys = [repr(float(sigma)) for sigma in curve.sigmas]
    indices = [keys.index(repr(float(sigma))) for sigma in sigmas]
    return replace(curve, sigmas=tuple(sigmas), sample=curve.sample.at(indices))


def _shared_levels(curves: Sequence[MetricCurve]) -> list[float]:
    """Return the noise levels that all curves have; NaN stands for values without a noise level."""
    shared = set.intersection(*({repr(float(sigma)) for sigma in curve.sigmas} for curve in curves))
    sigmas = [sigma for sigma in curves[0].sigmas if repr(float(sigma)) in shared]
    if not sigmas:
        raise NotMeasuredError("the compared values have no noise level in common")
    return sigmas


def _compare(first: MetricCurve, second: MetricCurve, divides: bool) -> MetricCurve:
    sigmas = _shared_levels([first, second])
    first, second = _at_levels(first, sigmas), _at_levels(second, sigmas)
    one, two = first.sample, second.sample
    sample = divide(one, two) if divides else total([one, two.apply(np.negative)])
    return MetricCurve(
        tuple(sigmas),
        sample,
        _smallest_known([first.images, second.images]),
        _smallest_known([first.seeds, second.seeds]),
        max(first.seed_share, second.seed_share),
        first.has_sources or second.has_sources,
        tuple(sorted({*first.missing, *second.missing})),
    )


def _smallest_known(counts: Iterable[int]) -> int:
    """Return the smallest count of images or seeds, ignoring 0, which means unknown."""
    return min(filter(None, counts), default=0)


def _chosen_levels(measure: Measure, curves: Sequence[MetricCurve]) -> list[float]:
    """Return the noise levels that a measure is about; raise if it combines levels, one of which lacks a value."""
    sigmas = _shared_levels(curves)
    if np.isnan(sigmas).all():
        return sigmas
    missing = {sigma for curve in curves for sigma in curve.missing} - set(sigmas)
    all_sigmas = sorted({*sigmas, *missing})
    wanted = [all_sigmas[index] for index in find_levels(measure.sigma, all_sigmas)]
    known = [sigma for sigma in wanted if sigma not in missing]
    combines_levels = bool(measure.sigma.at) or measure.sigma.take != "each" or measure.slope == "input-psnr"
    if not known or (combines_levels and known != wanted):
        levels = ", ".join(map(level_name, sigmas))
        raise NotMeasuredError(f"{measure.metric} is not known at σ = {measure.sigma}; it is at {levels}")
    return known


def _reduce(measure: Measure, curves: list[MetricCurve], row_numbers: tuple[float, ...], name: str) -> Quantity:
    """Reduce the curves of one metric and comparison along rows and noise levels to a quantity."""
    chosen_sigmas = _chosen_levels(measure, curves)
    chosen_curves = [_at_levels(curve, chosen_sigmas) for curve in curves]
    # The last axes are rows and noise levels.
    sample = join([curve.sample for curve in chosen_curves], functools.partial(np.stack, axis=-2))
    at_levels = ["" if math.isnan(sigma) else f"σ = {level_name(sigma)}" for sigma in chosen_sigmas]
    if measure.slope == "input-psnr":
        if len(chosen_sigmas) < 2:
            raise NotMeasuredError(f"a slope needs two noise levels; the only level is {level_name(chosen_sigmas[0])}")
        noisy = input_psnr(chosen_sigmas)
        sample, at_levels = sample.apply(lambda array: fit_slope(noisy, array)[..., None]), [""]
    elif measure.sigma.take == "mean":
        sample, at_levels = sample.apply(lambda array: array.mean(axis=-1, keepdims=True)), [""]
    at_rows = ["" if math.isnan(number) else f"N = {number:g}" for number in row_numbers]
    if measure.slope == "log10-N":
        if len(row_numbers) < 2 or not np.isfinite(row_numbers).all():
            raise NotMeasuredError("a slope needs two numbers of training images")
        x = np.log10(row_numbers)
        sample, at_rows = sample.apply(lambda array: fit_slope(x, array.swapaxes(-1, -2))[..., None, :]), [""]
    elif measure.number is not None and measure.number.take == "mean":
        sample, at_rows = sample.apply(lambda array: array.mean(axis=-2, keepdims=True)), [""]
    names = [", ".join(filter(None, (row, level, name))) for row in at_rows for level in at_levels]
    return Quantity(
        tuple(names),
        sample.apply(lambda array: array.reshape(*array.shape[:-2], -1)),
        _smallest_known(curve.images for curve in chosen_curves),
        _smallest_known(curve.seeds for curve in chosen_curves),
        float(np.mean([curve.seed_share for curve in chosen_curves])),
        tuple(chosen_sigmas),
        tuple(number for number in row_numbers if not math.isnan(number)),
        any(curve.has_sources for curve in chosen_curves),
        "linear" if measure.slope else _shared_scale(curve.scale for curve in chosen_curves),
    )


def _join(quantities: Sequence[Quantity]) -> Quantity:
    first = quantities[0]
    return replace(
        first,
        names=tuple(name for quantity in quantities for name in quantity.names),
        sample=join([quantity.sample for quantity in quantities], functools.partial(np.concatenate, axis=-1)),
        images=_smallest_known(quantity.images for quantity in quantities),
        seeds=_smallest_known(quantity.seeds for quantity in quantities),
        seed_share=float(np.mean([quantity.seed_share for quantity in quantities])),
        has_sources=any(quantity.has_sources for quantity in quantities),
        scale=_shared_scale(quantity.scale for quantity in quantities),
    )


def _shared_scale(scales: Iterable[IntervalScale]) -> IntervalScale:
    """Return the scale of intervals of several values, which is linear if their scales differ."""
    first, *others = set(scales)
    return "linear" if others else first
