"""The common interface of trained networks and references for metrics and samplers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from gahbench._util.errors import listing, suggestion
from gahbench.contracts.truth import Truth

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.jacobian import LinearMaps

#: Kinds of denoisers; the kind decides which parts of the truth a denoiser may use.
DenoiserKind = Literal["trained", "classical", "oracle", "optimal", "bound"]
KINDS: tuple[DenoiserKind, ...] = get_args(DenoiserKind)
#: Denoisers of these kinds see the clean image.
SEES_CLEAN: frozenset[DenoiserKind] = frozenset({"oracle", "bound"})
#: Denoisers of these kinds see the dataset.
SEES_DATASET: frozenset[DenoiserKind] = SEES_CLEAN | {"optimal"}


def validate_kind(kind: str) -> DenoiserKind:
    """Return the kind of a denoiser; raise ``ValueError`` if it is unknown."""
    for known in KINDS:
        if known == kind:
            return known
    raise ValueError(
        f"unknown kind of denoiser: kind={kind!r}{suggestion(str(kind), KINDS) or ';'} accepted: {listing(KINDS)}"
    )


def visible_truth(kind: DenoiserKind, truth: Truth) -> Truth:
    """Return the truth without the parts that a denoiser of a kind may not see; hidden clean images are NaN."""
    clean = truth.clean if validate_kind(kind) in SEES_CLEAN else truth.clean.new_full(truth.clean.shape, math.nan)
    return replace(truth, clean=clean, dataset=truth.dataset if kind in SEES_DATASET else None)


class Denoiser(Protocol):
    """A trained network or a reference, as metrics use it."""

    kind: DenoiserKind

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        ...

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), if it has a closed form."""
        ...

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians at the noisy images; ``None`` if they do not exist or cannot be computed."""
        ...


def denoise_by_level(denoiser: Denoiser, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
    """Return the denoised images, shape (N, C, H, W), with one call for each noise level of ``sigmas``, shape (N,)."""
    denoised = noisy.clone()
    for sigma in sorted(set(sigmas.tolist())):
        indices = (sigmas == sigma).nonzero()[:, 0]
        part = replace(truth, clean=truth.clean[indices.to(truth.clean.device)])
        denoised[indices] = denoiser.denoise(noisy[indices], sigma, part).to(denoised)
    return denoised
