"""Curves of the distance from the bound against epsilon, and the noise levels at which the bound has collapsed.

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

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gahbench.board.cube import ScoreCube, metric_cubes, share_spreads
from gahbench.board.metric_names import parse_metric_name
from gahbench.board.optimality import decibels, sample_errors
from gahbench.board.statistics import UNKNOWN, Array, Interval, estimate
from gahbench.board.tables import families, value_rows
from gahbench.evaluation.rates import fit_slope, input_psnr

if TYPE_CHECKING:
    import pandas as pd

    from gahbench.board.results import Results

#: The metric from which curves are computed, and its parts.
METRIC, ERROR, BOUND = "optimality-slope", "error", "bound"
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
    def slope(self) -> Interval:
        """The slope of D in dB per dB of input PSNR, over the longest run of known levels where the bound collapsed."""
        known = self.bound_collapsed & np.isfinite(self.deficits)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(np.int8), [0]])))
        runs = [slice(first, end) for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
        levels = max(runs, key=lambda run: self.epsilons[run.stop - 1] / self.epsilons[run.start], default=slice(0))
        x = input_psnr(self.epsilons[levels])
        if len(x) < 2:
            return UNKNOWN
        return estimate(fit_slope(x, self.deficits[levels]), fit_slope(x, self.draws[:, levels]))


class _Errors(NamedTuple):
    """Mean squared errors (E, S) on images of one size, with draws (D, E, S); the last row is the bound."""

    side: int
    cube: ScoreCube
    epsilons: Array
    means: Array
    draws: Array


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
    errors = {
        name: _sample_errors(int(results.facts[name].height), cube, cubes[BOUND].get(name))
        for name, cube in share_spreads(cubes[ERROR]).items()
    }
    # Members of these families are block averages of the same large images.
    by_size = families({name: name for name in results.facts}, "size").items()
    rendered = {name: family for spec, family in by_size if "render_size=" in spec for name in family}
    curves: dict[str, dict[str, DeficitCurve]] = {}
    for dataset, own in errors.items():
        others = [errors[name] for name in rendered.get(dataset, [dataset]) if name in errors]
        members = {other.side: other for other in others if other.cube.images == own.cube.images}
        collapsed = collapsed_levels(own.side, {side: (m.epsilons, m.means[-1]) for side, m in members.items()})
        bound, bound_draws = own.means[-1], own.draws[:, -1]
        # Smaller images fill gaps in the bound where it has collapsed.
        for side in sorted((side for side in members if side < own.side), reverse=True):
            smaller, is_gap = members[side], collapsed & np.isnan(bound)
            bound = np.where(is_gap, _at(own.epsilons, smaller.epsilons, smaller.means[-1]), bound)
            bound_draws = np.where(is_gap, _at(own.epsilons, smaller.epsilons, smaller.draws[:, -1]), bound_draws)
        deficits, draws = decibels(own.means / bound), decibels(own.draws / bound_draws[:, None])
        curves[dataset] = {
            label: DeficitCurve(own.epsilons, deficits[index], draws[:, index], collapsed)
            for index, label in enumerate(own.cube.entrants)
        }
    return curves


def rate_values(curves: Mapping[str, Mapping[str, DeficitCurve]]) -> Iterator[pd.DataFrame]:
    """Yield the slope of D of each entrant over the levels at which the bound has collapsed."""
    for dataset, by_entrant in curves.items():
        slopes = [astuple(curve.slope) for curve in by_entrant.values()]
        yield value_rows(dataset, list(by_entrant), METRIC, "", [np.nan], *np.transpose(slopes))


def _sample_errors(side: int, cube: ScoreCube, bound: ScoreCube | None) -> _Errors:
    values = np.full(cube.values.shape, np.nan) if bound is None else bound.reindex_like(cube)
    # The bound is the same for all entrants that have it, and for their seeds.
    shared = np.max(np.where(np.isfinite(values), values, -np.inf), axis=(0, 2), keepdims=True)
    shared = np.where(np.isfinite(shared), shared, np.nan).repeat(len(cube.runs), axis=2)
    sampled = sample_errors(np.concatenate([cube.values, shared]), [*cube.entrants, BOUND], cube)
    return _Errors(side, cube, np.asarray(cube.sigmas) / side, *sampled)


def _at(epsilons: Array, known: Array, values: Array) -> Array:
    """Return values (..., K) at K known levels of epsilon for other levels, shape (..., S); NaN for unknown levels."""
    is_equal = np.abs(known[:, None] / epsilons - 1) <= _RELATIVE_TOLERANCE
    return np.where(is_equal.any(axis=0), values[..., is_equal.argmax(axis=0)], np.nan)


def collapsed_levels(size: int, curves: Mapping[int, tuple[Array, Array]]) -> NDArray[np.bool_]:
    """Return whether the error of one size has collapsed at each of its levels, shape (S,).

    ``curves`` holds, by size, levels of epsilon and the errors at these levels. The largest pair of a size, at most the
    given size, and its double that has errors at a level decides.
    """
    epsilons = curves[size][0]
    difference = np.full(len(epsilons), np.nan)
    for side in sorted(side for side in curves if side <= size and 2 * side in curves):
        first, second = (_at(epsilons, *curves[number]) for number in (side, 2 * side))
        difference = np.where((first > 0) & (second > 0), decibels(first / second), difference)
    return np.asarray(np.abs(difference) < MAX_DIFFERENCE)
