"""Contract checks of a dataset's optimum.

That it is right is for the family's own tests; here is checked that it is there, sound, and about as large as it must
be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from gahbench.contracts.datasets import Card, Dataset, Optimum, OptimumKind
from gahbench.contracts.optima import Posterior, TrueBasis
from gahbench.jacobian import LARGEST_EXACT
from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_noise

SIGMA = 0.1
#: A mean error over a few images may differ from its expectation by so much, and by no more.
FACTOR = 20.0


def check_optimum(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    """Check the stated optimum of a dataset on its first test images, shape (N, C, H, W)."""
    optimum = dataset.optimum
    known = isinstance(optimum, Optimum) and optimum.kind in get_args(OptimumKind)
    slope = known and (optimum.slope is None or 0 <= optimum.slope <= 1)
    yield Finding("states an optimum, with a slope from 0 to 1 or none", bool(slope), f"{optimum}")
    card = dataset.card
    yield Finding("has a gahbench.Card", isinstance(card, Card), "" if isinstance(card, Card) else f"{card!r}")
    if not known:
        return
    noisy = clean + sample_noise(clean, SIGMA)
    if optimum.kind == "exact":
        yield from _check_posterior(dataset, clean, noisy)
    if optimum.kind == "bracket":
        yield from _check_bracket(dataset, clean, noisy)
    # A basis may be as large as the square of the pixels: two images are enough.
    yield from _check_basis(dataset, clean[:2])
    yield from _check_filters(dataset, noisy[:2])
    yield from _check_level_sets(dataset, clean)


def _check_posterior(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    posterior = dataset.posterior(noisy, SIGMA)
    mean, trace = posterior.mean, posterior.trace
    shapes = mean.shape == noisy.shape and trace.shape == (len(noisy),)
    yield Finding("posterior has its shapes", shapes, f"{tuple(mean.shape)}, {tuple(trace.shape)}")
    if not shapes:
        return
    yield Finding("posterior is finite", bool(mean.isfinite().all() and trace.isfinite().all()))
    yield Finding("posterior trace is not negative", bool((trace >= 0).all()))
    error = (mean.double() - clean).square().flatten(1).sum(1)
    closer = bool(error.mean() < (noisy - clean).square().flatten(1).sum(1).mean())
    yield Finding("posterior mean is closer to the clean image than the noisy one", closer)
    realised, expected = float(error.mean()), float(trace.double().mean())
    # Below a millionth of the noise both may be rounding.
    floor = 1e-6 * SIGMA**2 * clean[0].numel()
    alike = max(realised, floor) < FACTOR * max(expected, floor) and max(expected, floor) < FACTOR * max(
        realised, floor
    )
    yield Finding(
        "posterior trace is of the size of the error",
        alike,
        f"{expected:.3e}, {realised:.3e}; accepted: a factor of {FACTOR:g}",
    )
    ess_fraction = posterior.ess_fraction
    if ess_fraction is not None:
        share = ess_fraction.shape == (len(noisy),) and bool(((ess_fraction > 0) & (ess_fraction <= 1)).all())
        yield Finding("effective sample size is a share", share, f"{ess_fraction}")
    first: Posterior = dataset.posterior(noisy[:1], SIGMA)
    same = torch.allclose(first.mean.double(), mean[:1].double(), atol=1e-5)
    yield Finding("posterior of an image does not depend on the others, and repeats", same)


def _check_bracket(dataset: Dataset, clean: Tensor, noisy: Tensor) -> Iterator[Finding]:
    bound = dataset.lower_bound("test", len(clean), SIGMA)
    sound = bound.shape == (len(clean),) and bool(((bound >= 0) & (bound <= SIGMA**2)).all())
    yield Finding("lower bound lies between 0 and sigma^2", sound, f"{bound}")
    genie = dataset.genie(noisy, SIGMA, "test")
    same = genie.shape == noisy.shape
    yield Finding("the genie returns the shape it got", same, f"{tuple(genie.shape)}")
    if not (sound and same):
        return
    realised = float((genie.double() - clean).square().mean())
    expected = float(bound.mean())
    alike = expected / FACTOR < realised < FACTOR * expected
    yield Finding(
        "the genie's error is of the size of the bound",
        alike,
        f"{realised:.3e}, {expected:.3e}; accepted: a factor of {FACTOR:g}",
    )
    last = len(clean) - 1
    again = torch.allclose(dataset.lower_bound("test", 1, SIGMA, start=last), bound[last:], rtol=1e-6, atol=0)
    yield Finding("start skips images of the bound", again)
    alone = dataset.genie(noisy[last:], SIGMA, "test", start=last)
    yield Finding("start skips images of the genie", torch.allclose(alone.float(), genie[last:].float(), atol=1e-4))


def _check_filters(dataset: Dataset, noisy: Tensor) -> Iterator[Finding]:
    if noisy[0].numel() > LARGEST_EXACT:
        yield Finding("optimal filters", None, "not tried on images of this size")
        return
    maps = dataset.optimal_filters(noisy, SIGMA, "test")
    if maps is None:
        best = {"exact": "optimal", "bracket": "lower-bound"}.get(dataset.optimum.kind)
        detail = "truth-alignment has no value for any denoiser"
        if best is not None:
            detail = f"{best} has no Jacobian on it, and no value in metrics that need one; {detail}"
        yield Finding("has no optimal filters", None, detail)
        return
    shapes = len(maps) == len(noisy) and maps.shape == tuple(noisy.shape[1:])
    yield Finding("optimal filters are one for each image", shapes, f"{len(maps)} of images {maps.shape}")
    if not shapes:
        return
    vectors = sample_noise(noisy, 1.0, draw=4).flatten(1)[:, None]
    forth, back = maps.matvec(vectors), maps.rmatvec(vectors)
    symmetric = torch.allclose(forth, back, atol=1e-4 * float(forth.abs().max()))
    yield Finding("optimal filters are symmetric", symmetric)
    if dataset.optimum.kind == "exact":
        # The posterior covariance, over sigma^2, in both.
        expected, found = dataset.posterior(noisy, SIGMA).trace.double(), SIGMA**2 * maps.trace().value
        alike = torch.allclose(found, expected, rtol=0.01, atol=1e-6 * SIGMA**2 * noisy[0].numel())
        yield Finding("traces of optimal filters are those of the posterior", alike, f"{found}, {expected}")


def _check_basis(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    basis: TrueBasis | None = dataset.true_basis("test", len(clean))
    consistent = dataset.has_true_basis == (basis is not None and basis.energies is not None)
    yield Finding("has_true_basis says whether there is one with energies", consistent)
    if basis is None:
        return
    vectors, energies = basis.vectors, basis.energies
    pixels = clean[0].numel()
    shape = vectors.ndim == 3 and len(vectors) in (1, len(clean)) and vectors.shape[1] == pixels
    yield Finding("true basis has its shape", shape, f"{tuple(vectors.shape)} for {pixels} pixels")
    if not shape:
        return
    gram = vectors.double().mT @ vectors.double()
    off = float((gram - torch.eye(gram.shape[-1], dtype=gram.dtype)).abs().max())
    yield Finding("true basis is orthonormal", off < 1e-4, f"off by {off:.1e}; accepted: below 1e-4")
    if energies is not None:
        sorted_down = energies.shape == (len(vectors), vectors.shape[2]) and bool((energies >= 0).all())
        sorted_down = sorted_down and bool((energies.diff() <= 1e-6 * energies[:, :1]).all())
        yield Finding("energies are one for each vector, not negative, largest first", sorted_down)


def _check_level_sets(dataset: Dataset, clean: Tensor) -> Iterator[Finding]:
    levels = dataset.level_sets("test", len(clean))
    yield Finding("has_level_sets says whether there are some", dataset.has_level_sets == (levels is not None))
    if levels is None:
        return
    shape = (len(clean), *clean.shape[2:])
    sound = levels.shape == shape and levels.dtype == torch.float64 and bool(levels.isfinite().all())
    yield Finding("level sets are finite, float64, one for each image", sound, f"{levels.dtype}, {tuple(levels.shape)}")
    last = dataset.level_sets("test", 1, start=len(clean) - 1)
    again = sound and last is not None and torch.allclose(last, levels[-1:])
    yield Finding("start skips images of the level sets", again)
