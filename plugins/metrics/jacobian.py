"""Metrics of the Jacobian of a denoiser: spectrum, adaptation to the image, consistency and dimension."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahbench import Metric, OptimumError, Scores, Shape
from gahbench.evaluation import Evaluation, PerLevel, psnr_of_error
from gahbench.jacobian import LARGEST_EXACT, DenseMaps, LinearMaps, probes_for, top

#: Number of random vectors for the asymmetry of large images.
PROBES = 32
#: Number of images whose eigenvectors are saved for figures, and the ranks of these eigenvectors.
SAVED_IMAGES, SAVED_RANKS = 2, (1, 2, 3, 5, 9, 17, 33, 65)
#: Number of other images whose filters are used if Jacobians are too large for all pairs.
OTHER_IMAGES = 3
#: A dimension is smaller than another if it is smaller by more than half a dimension.
MARGIN = 0.5
#: Denoisers whose output changes by less than this fraction of sigma, if they are given noise of the grey scale or
#: twice sigma instead of sigma, are blind. Memorized images do not change if sigma only doubles.
MIN_CHANGE = 1e-4


class Spectrum(Metric):
    """Spectrum of the denoiser's Jacobian J at each noisy image.

    The Jacobian of an optimal denoiser is symmetric, with nonnegative eigenvalues (Kadkhodaie 2024, equation 9; Mohan
    et al. 2020). Eigenvalues belong to the symmetric part of J. They are not clipped: networks have eigenvalues above 1
    and below 0. The metric has parts only, and no ranked value.

    Parts: ``trace``, the effective dimension; ``above-half``, the number of eigenvalues above 1/2; ``largest`` and
    ``smallest``, the extreme eigenvalues; ``negative``, the sum of the absolute negative eigenvalues divided by the sum
    of the positive eigenvalues; ``asymmetry``, |J - J'| / |J| (Frobenius norms), 0 for a symmetric Jacobian;
    ``homogeneity``, |J y - f(y)| / |f(y)|, 0 for bias-free networks, for which f(y) = J y (equation 6). For images of
    more than 2304 values the trace is estimated from random vectors, the extreme eigenvalues are computed by the
    Lanczos method, and ``above-half`` and ``negative`` are omitted.

    Arrays for figures: eigenvectors of the first images at the middle noise level, in 8 bits, unless images are large
    (Kadkhodaie 2024, figure 3).
    """

    citation = ("kadkhodaie-2024", "mohan-2020")
    needs = frozenset({"jacobian"})
    higher_is_better = None

    def score(self, evaluation: Evaluation) -> Scores:
        """Return the parts for every image at every noise level; no scores without a Jacobian."""
        values: dict[tuple[str, float], Tensor] = {}
        arrays = None
        middle = evaluation.sigmas[len(evaluation.sigmas) // 2]
        for sigma in evaluation.sigmas:
            local = evaluation.local_filters
            maps, trace = local.maps(sigma), local.trace(sigma)
            if maps is None or trace is None:
                continue
            parts = {"trace": trace.value}
            pairs, matrices = (local.eigenpairs(sigma), local.matrices(sigma)) if maps.is_small else (None, None)
            if pairs is not None and matrices is not None:
                eigenvalues, vectors = pairs
                parts |= {"largest": eigenvalues[:, 0], "smallest": eigenvalues[:, -1]}
                parts["above-half"] = (eigenvalues > 0.5).sum(1)
                positive, negative = eigenvalues.clamp(min=0).sum(1), eigenvalues.clamp(max=0).sum(1)
                parts["negative"] = -negative / positive.clamp_min(1e-300)
                parts["asymmetry"] = _relative(matrices - matrices.mT, matrices)
                if sigma == middle and evaluation.split == "test":
                    arrays = _saved(evaluation, sigma, eigenvalues, vectors)
            else:
                parts |= {"largest": top(maps, 1).values[:, 0], "smallest": top(maps, 1, smallest=True).values[:, 0]}
                probes = probes_for(maps.size, PROBES, 0, maps.like)
                adjoint = maps.rmatvec(probes)
                parts["asymmetry"] = _relative(maps.matvec(probes) - adjoint, adjoint)
            # Use the maps, which are in float32; matrices may contain products in bfloat16.
            product = maps.matvec(evaluation.noisy(sigma).flatten(1)[:, None])[:, 0].double().cpu()
            denoised = evaluation.denoised(sigma).flatten(1).double()
            parts["homogeneity"] = _relative(product - denoised, denoised)
            values |= {(name, sigma): value for name, value in parts.items()}
        return Scores.parts(values, arrays)


def _saved(evaluation: Evaluation, sigma: float, eigenvalues: Tensor, vectors: Tensor) -> dict[str, Tensor]:
    """Return the first images, shape (K, C, H, W), and eigenvectors (K, R, C, H, W), in 8 bits, with their ranks (R,).

    Each eigenvector is divided by its largest absolute value; zero is 128.
    """
    ranks = torch.tensor([rank for rank in SAVED_RANKS if rank <= eigenvalues.shape[1]])
    chosen = (ranks - 1).to(vectors.device)
    pairs = eigenvalues[:SAVED_IMAGES], vectors[:SAVED_IMAGES]
    eigenvalues, vectors = (part.index_select(1, chosen).double().cpu() for part in pairs)
    vectors = 128 + 127 * vectors / vectors.abs().amax(2, keepdim=True).clamp_min(1e-300)
    clean, noisy = (255 * images[:SAVED_IMAGES] for images in (evaluation.clean, evaluation.noisy(sigma)))
    images = {"clean": clean, "noisy": noisy, "eigenvectors": vectors.view(*vectors.shape[:2], *evaluation.shape)}
    return {
        **{name: image.round().clamp(0, 255).to(torch.uint8) for name, image in images.items()},
        "eigenvalues": eigenvalues,
        "ranks": ranks,
        "sigmas": torch.tensor([sigma], dtype=torch.float64),
    }


def _norm(matrices: Tensor) -> Tensor:
    """Return the Frobenius norms of matrices or vectors (N, ...), float64."""
    norms: Tensor = torch.linalg.vector_norm(matrices.flatten(1), dim=1, dtype=torch.float64)
    return norms.cpu()


def _relative(difference: Tensor, of: Tensor) -> Tensor:
    return _norm(difference) / _norm(of).clamp_min(1e-300)


class Eigenvalue(PerLevel):
    """The k-th largest eigenvalue of the symmetric part of the denoiser's Jacobian at each noisy image.

    An eigenvalue near 1 belongs to a direction that the denoiser preserves, and an eigenvalue near 0 to a direction
    that it removes (Kadkhodaie 2024, figure 3). Eigenvalues are not clipped. For images of more than 2304 values they
    are computed by the Lanczos method, whose time grows with ``k``.

    Parameters
    ----------
    k
        Rank of the eigenvalue, from 1 to the number of values of an image; 1 is the largest eigenvalue.
    """

    citation = "kadkhodaie-2024"
    needs = frozenset({"jacobian"})
    higher_is_better = None
    titles: ClassVar[dict[str, str]] = {"": "eigenvalue number {k}"}
    label_parameters = ("k",)

    def __init__(self, k: Annotated[int, Field(ge=1)] = 1) -> None:
        self.k = k

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with fewer than ``k`` values."""
        if self.k > math.prod(shape):
            raise ValueError(
                f"eigenvalue: k={self.k}; accepted: 1 to {math.prod(shape)}, the number of values of images "
                f"{'x'.join(map(str, shape))}"
            )

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the eigenvalue; no values without a Jacobian."""
        self.check(evaluation.shape, evaluation.sigmas)
        maps = evaluation.local_filters.maps(sigma)
        if maps is None:
            return {}
        pairs = evaluation.local_filters.eigenpairs(sigma) if maps.is_small else None
        return {"": (top(maps, self.k).values if pairs is None else pairs[0])[:, self.k - 1].cpu()}


class Leakage(PerLevel):
    """Sum of the Jacobian's eigenvalues beyond the dimension m of the image manifold, sum_{k > m} lambda_k.

    As sigma tends to 0 the optimal denoiser on a manifold projects onto the tangent space, so that m eigenvalues are 1
    and all other eigenvalues are 0. Networks also keep harmonic vectors outside the tangent space, which shows their
    inductive bias (Kadkhodaie 2024, section 3.3). Eigenvalues and eigenvectors belong to the symmetric part of the
    Jacobian. The metric has values only on datasets that provide tangent spaces.

    Parts: ``extra``, the number of eigenvalues above 1/2 minus m; ``angle`` and ``largest-angle``, the mean and the
    largest principal angle, in degrees, between the first m eigenvectors and the tangent space.
    """

    citation = "kadkhodaie-2024"
    needs = frozenset({"jacobian"})
    higher_is_better = False

    def check(self, shape: Shape, sigmas: Sequence[float]) -> None:
        """Raise ``ValueError`` for images with more than 2304 values."""
        if math.prod(shape) > LARGEST_EXACT:
            raise ValueError(
                f"leakage needs all eigenvectors of the Jacobian; accepted: images of up to {LARGEST_EXACT} values, "
                f"such as 48x48 grey, not {math.prod(shape)} of {'x'.join(map(str, shape))}"
            )

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the leakage and its parts; no values without a Jacobian or without tangent spaces."""
        dataset, count = evaluation.dataset, len(evaluation.clean)
        tangents = None if dataset is None else dataset.true_basis(evaluation.split, count, evaluation.start)
        if tangents is None or tangents.energies is not None:
            return {}
        dimension, pairs = tangents.vectors.shape[2], evaluation.local_filters.eigenpairs(sigma)
        if pairs is None:
            return {}
        eigenvalues, leading = pairs[0].cpu(), pairs[1][:, :dimension].cpu()
        cosines = torch.linalg.svdvals(leading @ tangents.vectors.to(leading)).clamp(max=1)
        angles = torch.rad2deg(torch.arccos(cosines))
        parts = {"": eigenvalues[:, dimension:].sum(1), "extra": (eigenvalues > 0.5).sum(1) - dimension}
        return {**parts, "angle": angles.mean(1), "largest-angle": angles.amax(1)}


class Adaptation(PerLevel):
    """Gain in PSNR (dB) from adapting the filter to the image, without the part that is due to the noise.

    The filter of an image is the Jacobian of the denoiser, applied to the noisy image y. The gain is the PSNR under the
    filter of the image, minus the mean PSNR under the filters of other images. A filter that depends on the noise also
    has a positive gain, without adapting to the image. Therefore the noise sensitivity is subtracted: the PSNR under
    the filter of the image, minus the PSNR under its filter for fresh noise. The value is then the PSNR under the
    filter for fresh noise, minus the mean PSNR under the filters of other images. It is 0 for a linear denoiser, and
    needs no model of geometry.

    For networks with additive constants the filter does not describe the denoiser completely; see
    ``spectrum.homogeneity``.

    Parts: ``gain`` and ``sensitivity``, both in dB. The value is their difference.
    """

    needs = frozenset({"jacobian"})
    unit = "dB"
    min_images = 2

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the gains and parts; no values without Jacobians under fresh noise."""
        maps, fresh_maps = (_maps(evaluation, sigma, draw) for draw in (0, 1))
        if maps is None or fresh_maps is None:
            return {}
        noisy, clean = evaluation.noisy(sigma).flatten(1), evaluation.clean.flatten(1)
        own, fresh = (_psnr(each.matvec(noisy[:, None])[:, 0], clean) for each in (maps, fresh_maps))
        other = _under_others(maps, noisy, clean)
        return {"": fresh - other, "gain": own - other, "sensitivity": own - fresh}


def _maps(evaluation: Evaluation, sigma: float, draw: int) -> LinearMaps | None:
    maps = evaluation.local_filters.maps(sigma, draw)
    if maps is None or not maps.is_small:
        return maps
    matrices = evaluation.local_filters.matrices(sigma, draw)
    assert matrices is not None
    return DenseMaps(matrices, evaluation.shape)


def _under_others(maps: LinearMaps, noisy: Tensor, clean: Tensor) -> Tensor:
    """Return the mean PSNR of each image under the filters of other images, shape (N,)."""
    count = len(noisy)
    if isinstance(maps, DenseMaps):
        # Apply the filter of image i to all images j, and average over i other than j.
        psnr = _psnr(maps.matvec(noisy[None]), clean)
        return torch.as_tensor((psnr.sum(0) - psnr.diagonal()) / (count - 1))
    # Apply the filter of image i to the images i + 1, i + 2, ...
    shifts = range(1, min(OTHER_IMAGES, count - 1) + 1)
    products = maps.matvec(torch.stack([noisy.roll(-shift, 0) for shift in shifts], dim=1)).unbind(1)
    pairs = zip(shifts, products, strict=True)
    return torch.stack([_psnr(product, clean.roll(-k, 0)).roll(k, 0) for k, product in pairs]).mean(0)


def _psnr(denoised: Tensor, clean: Tensor) -> Tensor:
    """Return the PSNR in dB of flat images (..., d), shape (...), float64."""
    return psnr_of_error((denoised.double().cpu() - clean.double().cpu()).square().mean(-1))


class SelfConsistency(PerLevel):
    """Ratio of the squared error to sigma^2 tr J, where J is the Jacobian: 1 for an optimal denoiser.

    For an optimal denoiser the mean of sigma^2 tr J over images and noise is the expected squared error (Kadkhodaie
    2024, equations 9 and 10), which is then known without clean images. A ratio above 1 means that the error exceeds
    this estimate. A ratio of 1 does not prove optimality, so the metric has no ranked value.

    Parts, per pixel and divided by sigma^2, so that the noisy image has error 1: ``realised``, the squared error;
    ``expected``, tr J; ``sure``, Stein's unbiased risk estimate, which needs no clean image, 2 sigma^2 tr J + |y -
    f(y)|^2 - sigma^2 d (equation 7). Boards show ``ratio``, the mean of ``realised`` divided by the mean of
    ``expected``. To reduce the variance of ``sure``, the term (1 - 2 tr J / d) (|n|^2 / sigma^2 - d) of expectation 0
    is subtracted, where n is the noise and tr J the mean over the other images; with a single image the term is not
    subtracted. For white noise the means of ``sure`` and ``realised`` agree.
    """

    citation = "kadkhodaie-2024"
    needs = frozenset({"jacobian"})
    higher_is_better = None
    ratios: ClassVar[Mapping[str, tuple[str, str]]] = {"ratio": ("realised", "expected")}
    positive_parts = ("ratio",)

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the parts; no values without a Jacobian."""
        trace = evaluation.local_filters.trace(sigma)
        if trace is None:
            return {}
        images = evaluation.denoised(sigma), evaluation.clean, evaluation.noisy(sigma)
        denoised, clean, noisy = (each.double().flatten(1) for each in images)
        expected, others = trace.value.double().cpu() / clean.shape[1], len(clean) - 1
        error, residual, noise = (
            (left - right).square().mean(1) / sigma**2
            for left, right in ((denoised, clean), (noisy, denoised), (noisy, clean))
        )
        # The mean of tr J / d over the other images.
        factor = 1 - 2 * (expected.sum() - expected) / others if others else torch.zeros(1)
        return {"realised": error, "expected": expected, "sure": 2 * expected + residual - 1 - factor * (noise - 1)}


class LocalDimension(PerLevel):
    """Local intrinsic dimension at the clean image x: tr J(x) + |f(x) - x|^2 / sigma^2, where J is the Jacobian of f.

    The value is FLIPD (Kamkari et al. 2024): the number of values of an image plus the derivative of the log density of
    noisy images at x with respect to log sigma, computed from the score (f(x) - x) / sigma^2. For the optimal denoiser
    on a manifold of dimension m, the value tends to m as sigma tends to 0, for example to 5 on ``discs``. The denoiser
    is evaluated at noiseless images for a noise level sigma, so denoisers that do not depend on the given noise level
    have no value. Oracles have no value either.

    A model that memorized an image by overfitting has a smaller dimension there than the data have (Ross et al. 2025).
    The posterior mean over a finite training set, which memorized it, has dimension 0 at training images as sigma tends
    to 0, so the split ``train`` shows memorization. Elsewhere its dimension exceeds that of the data, since other
    images are far from all that it models.

    Parts, on datasets whose optimum is ``exact``: ``data``, the dimension of the data, which is the value of the
    optimal denoiser at the same image and noise level; ``excess``, the value minus ``data``; ``memorized``, 1 if the
    excess is below -1/2, and 0 otherwise, whose mean is the share of memorized images.
    """

    share_parts = ("memorized",)
    citation = ("kamkari-2024", "ross-2025")
    needs = frozenset({"jacobian"})
    higher_is_better = None
    titles: ClassVar[Mapping[str, str]] = {
        "": "local intrinsic dimension",
        "excess": "dimension of the model minus that of the data",
        "memorized": "memorized images (share)",
    }

    def parts(self, evaluation: Evaluation, sigma: float) -> dict[str, Tensor]:
        """Return the value and the parts; none for blind denoisers and oracles."""
        denoiser, dataset = evaluation.denoiser, evaluation.dataset
        if denoiser.kind in ("oracle", "bound"):
            return {}
        arguments = evaluation.noise_seed, evaluation.split, dataset
        levels = sigma, max(2 * sigma, 1.0)
        noiseless = _Noiseless(denoiser, evaluation.clean, levels, *arguments, start=evaluation.start)
        noiseless.granted = evaluation.granted
        trace = noiseless.local_filters.trace(sigma) if _depends_on_sigma(noiseless) else None
        if trace is None:
            return {}
        value = trace.value.cpu() + _distance(noiseless.denoised(sigma), noiseless.clean) / sigma**2
        best = None
        if dataset is not None and dataset.optimum.kind == "exact":
            with contextlib.suppress(OptimumError):
                best = noiseless.optimum(sigma)
        if best is None:
            return {"": value}
        # The Jacobian of the optimum times sigma^2 is the posterior covariance, whose trace per pixel is the error.
        total = best.error * noiseless.clean[0].numel() + _distance(best.mean, noiseless.clean)
        data = total.cpu() / sigma**2
        return {"": value, "data": data, "excess": value - data, "memorized": (value - data < -MARGIN).double()}


def _depends_on_sigma(noiseless: Evaluation) -> bool:
    """Return whether the denoised images depend on which of two noise levels the denoiser is given."""
    if noiseless.denoiser.kind == "optimal":
        return True
    sigma, other_sigma = noiseless.sigmas
    change = (noiseless.denoised(sigma) - noiseless.denoised(other_sigma)).square().mean().sqrt()
    return bool(change > MIN_CHANGE * sigma)


def _distance(denoised: Tensor, clean: Tensor) -> Tensor:
    """Return the squared distances of pairs of images, shape (N,), float64."""
    return (denoised.double() - clean).flatten(1).square().sum(1)


class _Noiseless(Evaluation):
    """An evaluation whose noisy images are the clean images at all noise levels."""

    def noisy(self, sigma: float, draw: int = 0) -> Tensor:
        """Return the clean images, shape (N, C, H, W)."""
        return self.clean
