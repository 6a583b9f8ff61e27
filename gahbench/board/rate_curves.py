"""Curves of the distance from the bound against epsilon, and the noise levels at which errors have collapsed.

D = 10 log10(MSE / bound) is computed from rows of the metric ``optimality-slope``: for each image and noise level, the
squared error of the entrant and the closed-form error of the bound. It is a ratio of errors averaged over images, never
an average of the images' ratios. A denoiser with the optimal rate keeps D as noise fades: its slope against input PSNR
is 0. The slope of a denoiser with the rate of wavelets is alpha/(alpha+1) - 1/2.

**Collapse**: white noise of standard deviation sigma in images of side N is, in the continuous image, noise of strength
epsilon = sigma / N. Images of side N and 2N that are block averages of the same large images show the same content. If
their errors at the same epsilon differ by less than :data:`MAX_DIFFERENCE`, the error at that level is the error for
the continuous image; at weaker noise, it is determined by the pixels. Images that are drawn independently for each size
are never compared, since their difference is not due to the number of pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gahbench.board.cube import ScoreCube, decibels, metric_cubes, psnr_cubes, share_spreads
from gahbench.board.facts import rendered_families
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import sample_errors, squared_errors
from gahbench.board.statistics import UNKNOWN, Array, Interval, estimate, means
from gahbench.board.tables import Value
from gahbench.evaluation.rates import MIN_LEVELS, fit_slope, input_psnr

if TYPE_CHECKING:
    from gahbench.board.results import Results

#: The metric from which curves are computed, and its parts.
METRIC, ERROR, BOUND = "optimality-slope", "error", "bound"
#: Ascending noise levels and the mean squared errors at these levels, NaN if unknown, both of shape (S,).
Curve = tuple[Array, Array]
#: Errors for images of side N and 2N have collapsed if they differ by less than this, in dB.
MAX_DIFFERENCE = 0.1
#: Levels are equal if epsilon differs by at most this share, which changes an error by about 0.01 dB.
_RELATIVE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class DeficitCurve:
    """The distance D (S,) of a denoiser from the bound, in dB, at S levels of epsilon, with joint draws (D, S)."""

    epsilons: Array
    deficits: Array
    draws: Array
    bound_collapsed: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Levels at which the bound has collapsed and D is known, shape (S,)."""
        return np.asarray(self.bound_collapsed & np.isfinite(self.deficits))

    @property
    def slope(self) -> Interval:
        """The slope of D against input PSNR, in dB per dB, over the longest run of neighbouring known levels."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.known.astype(np.int8), [0]])))
        runs = [slice(first, end) for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
        levels = max(runs, key=lambda run: self.epsilons[run.stop - 1] / self.epsilons[run.start], default=slice(0))
        x = input_psnr(self.epsilons[levels])
        if len(x) < 2:
            return UNKNOWN
        return estimate(fit_slope(x, self.deficits[levels]), fit_slope(x, self.draws[:, levels]))


class _Errors(NamedTuple):
    """Mean squared errors (E, S) on images of one size, with draws (D, E, S) where the last entrant is the bound."""

    side: int
    images: list[int]
    entrants: list[str]
    sigmas: Array
    means: Array
    draws: Array

    def find_collapsed(self, label: str, members: Iterable[_Errors]) -> NDArray[np.bool_] | None:
        """Return at which levels an entrant has collapsed, shape (S,); ``None`` if no pair of sizes shows it."""
        known = [member for member in members if label in member.entrants]
        curves = {member.side: (member.sigmas, member.means[member.entrants.index(label)]) for member in known}
        is_paired = any(side <= self.side and 2 * side in curves for side in curves)
        return collapsed_levels(self.side, curves) if is_paired else None


def is_optimality_slope(name: str) -> bool:
    """Return whether a name in the table of scores is ``optimality-slope`` or a part of it."""
    return parse_metric_name(name).name == METRIC


def deficit_curves(results: Results) -> dict[str, dict[str, DeficitCurve]]:
    """Return the curve of every entrant, by dataset, for datasets on which ``optimality-slope`` was measured."""
    # Errors do not depend on the parameters of the metric, so the first choice of parameters is enough.
    names = [str(name) for name in results.scores["metric"].unique() if is_optimality_slope(str(name))]
    cubes: dict[str, dict[str, ScoreCube]] = {ERROR: {}, BOUND: {}}
    for name, by_dataset in metric_cubes(results, names).items():
        for dataset, cube in by_dataset.items():
            cubes.get(parse_metric_name(name).part, {}).setdefault(dataset, cube)
    sides = _sides(results)
    errors = {
        name: _sample_errors(sides[name], cube, cubes[BOUND].get(name))
        for name, cube in share_spreads(cubes[ERROR]).items()
    }
    curves: dict[str, dict[str, DeficitCurve]] = {}
    for dataset, members in _same_images(results, errors).items():
        own = errors[dataset]
        collapsed = own.find_collapsed(BOUND, members)
        if collapsed is None:
            collapsed = np.zeros(len(own.sigmas), dtype=np.bool_)
        bound, bound_draws = _fill_bound(own, members, collapsed)
        deficits, draws = decibels(own.means / bound), decibels(own.draws / bound_draws[:, None])
        curves[dataset] = {
            label: DeficitCurve(own.sigmas / own.side, deficits[index], draws[:, index], collapsed)
            for index, label in enumerate(own.entrants[:-1])
        }
    return curves


def rate_values(curves: Mapping[str, Mapping[str, DeficitCurve]]) -> Iterator[Value]:
    """Yield the slope of D of each entrant over the levels at which the bound has collapsed."""
    for dataset, by_entrant in curves.items():
        for label, curve in by_entrant.items():
            yield Value(dataset, label, METRIC, "", None, curve.slope)


def _sides(results: Results) -> dict[str, int]:
    return dict(zip(map(str, results.datasets["dataset"]), map(int, results.datasets["height"]), strict=True))


def _same_images(results: Results, errors: Mapping[str, _Errors]) -> dict[str, list[_Errors]]:
    """Return, for each dataset, its errors and those on the same images, with its ``render_size``, in other sizes."""
    families = {name: family for family in rendered_families(results).values() for name in family.values()}
    return {
        dataset: [
            errors[name]
            for name in families.get(dataset, {0: dataset}).values()
            if name in errors and errors[name].images == own.images
        ]
        for dataset, own in errors.items()
    }


def _sample_errors(side: int, cube: ScoreCube, bound: ScoreCube | None) -> _Errors:
    values = np.full(cube.values.shape, np.nan) if bound is None else bound.reindex_like(cube)
    # The bound is the same for all entrants that have it, and for their seeds.
    shared = np.max(np.where(np.isfinite(values), values, -np.inf), axis=(0, 2), keepdims=True)
    shared = np.where(np.isfinite(shared), shared, np.nan).repeat(len(cube.runs), axis=2)
    entrants = [*cube.entrants, BOUND]
    sampled = sample_errors(np.concatenate([cube.values, shared]), entrants, cube)
    return _Errors(side, cube.images, entrants, np.asarray(cube.sigmas), *sampled)


def _fill_bound(own: _Errors, members: Iterable[_Errors], collapsed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the bound of a dataset, shape (S,), with draws (D, S); smaller sizes fill gaps at collapsed levels."""
    bound, draws = own.means[-1].copy(), own.draws[:, -1].copy()
    for member in sorted(members, key=lambda member: -member.side):
        for index in np.flatnonzero(np.isnan(bound) & collapsed) if member.side < own.side else ():
            other = index_of_level(member.sigmas, float(own.sigmas[index]) * member.side / own.side)
            if other is not None:
                bound[index], draws[:, index] = member.means[-1, other], member.draws[:, -1, other]
    return bound, draws


def index_of_level(sigmas: ArrayLike, sigma: float) -> int | None:
    """Return the index of a noise level, up to rounding; ``None`` if the level is missing."""
    indices = np.flatnonzero(np.abs(np.asarray(sigmas, dtype=np.float64) / sigma - 1) <= _RELATIVE_TOLERANCE)
    return int(indices[0]) if len(indices) else None


def collapsed_levels(size: int, curves: Mapping[int, Curve]) -> NDArray[np.bool_]:
    """Return whether the error of one size has collapsed at each of its noise levels, shape (S,), from curves by size.

    The largest pair of a size, at most the given size, and its double that has errors at a level decides.
    """

    def error_at(side: int, sigma: float) -> float:
        index = index_of_level(curves[side][0], sigma * side / size)
        return math.nan if index is None else float(curves[side][1][index])

    has_collapsed = np.zeros(len(curves[size][0]), dtype=np.bool_)
    for index, sigma in enumerate(curves[size][0].tolist()):
        for side in sorted((side for side in curves if side <= size and 2 * side in curves), reverse=True):
            first, second = error_at(side, sigma), error_at(2 * side, sigma)
            if first > 0 and second > 0:
                has_collapsed[index] = abs(10 * math.log10(first / second)) < MAX_DIFFERENCE
                break
    return has_collapsed


def entrant_windows(results: Results, windows: Mapping[str, Sequence[float]]) -> dict[str, dict[str, list[float]]]:
    """Return the noise levels of a window at which an entrant's error has collapsed, by dataset and entrant."""
    sides = _sides(results)
    errors = {
        name: _Errors(
            sides[name], cube.images, cube.entrants, np.asarray(cube.sigmas), means(squared_errors(cube)), np.empty(0)
        )
        for name, cube in psnr_cubes(results).items()
        if cube.entrants
    }
    members = _same_images(results, errors)
    levels: dict[str, dict[str, list[float]]] = {}
    for dataset in (dataset for dataset in windows if dataset in errors):
        own = errors[dataset]
        for label, is_usable in zip(own.entrants, np.isfinite(own.means), strict=True):
            collapsed = own.find_collapsed(label, members[dataset])
            usable = own.sigmas[is_usable if collapsed is None else is_usable & collapsed].tolist()
            levels.setdefault(dataset, {})[label] = [sigma for sigma in usable if sigma in windows[dataset]]
    return levels


def window_slopes(
    cubes: Mapping[str, ScoreCube],
    members: Mapping[int, str],
    windows: Mapping[str, Mapping[str, Sequence[float]]],
    entrant: str,
) -> dict[int, tuple[float, float, float]]:
    """Return the slope of an entrant within its window of each dataset, and the ends of its interval, by size."""
    slopes = {}
    for size, dataset in members.items():
        cube, window = cubes[dataset], windows.get(dataset, {}).get(entrant, ())
        levels = [index for index, sigma in enumerate(cube.sigmas) if sigma in window]
        if len(levels) >= MIN_LEVELS:
            x = input_psnr([cube.sigmas[level] for level in levels])
            sample = cube.shared_sample.row(cube.entrants.index(entrant)).at(levels)
            slope = sample.apply(functools.partial(fit_slope, x))
            low, high = slope.ends()
            slopes[size] = (float(slope.values), float(low), float(high))
    return slopes
