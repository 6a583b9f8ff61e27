"""Denoisers as metrics and samplers see them: trained networks and references alike."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from gahbench._util.errors import listing, suggestion
from gahbench.contracts.truth import Truth

if TYPE_CHECKING:
    from torch import Tensor

    from gahbench.jacobian import LinearMaps

#: Kinds of denoiser; the kind decides which parts of the truth a denoiser may use.
DenoiserKind = Literal["trained", "classical", "oracle", "optimal", "bound"]
KINDS: tuple[DenoiserKind, ...] = get_args(DenoiserKind)
#: Denoisers of these kinds see the clean image.
SEES_CLEAN: frozenset[DenoiserKind] = frozenset({"oracle", "bound"})
#: Denoisers of these kinds see the dataset.
SEES_DATASET: frozenset[DenoiserKind] = SEES_CLEAN | {"optimal"}


def checked_kind(kind: str) -> DenoiserKind:
    """Return the kind of a denoiser."""
    for known in KINDS:
        if known == kind:
            return known
    raise ValueError(
        f"kind={kind!r} of a denoiser is unknown{suggestion(str(kind), KINDS) or ';'} accepted: {listing(KINDS)}"
    )


def shown(kind: DenoiserKind, truth: Truth) -> Truth:
    """Return the truth that a denoiser of a kind may see: clean images that it may not see are NaN."""
    clean = truth.clean if checked_kind(kind) in SEES_CLEAN else truth.clean.new_full(truth.clean.shape, math.nan)
    return replace(truth, clean=clean, dataset=truth.dataset if kind in SEES_DATASET else None)


class Denoiser(Protocol):
    """A trained network or a reference, behind one interface for metrics."""

    kind: DenoiserKind

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        ...

    def risk(self, truth: Truth, sigma: float) -> Tensor | None:
        """Return the expected mean squared error per pixel of each image, shape (N,), where it has a closed form."""
        ...

    def jacobian(self, noisy: Tensor, sigma: float, truth: Truth) -> LinearMaps | None:
        """Return the Jacobians at the noisy images; ``None`` if they do not exist or cannot be computed."""
        ...


def by_noise_level(denoiser: Denoiser, noisy: Tensor, sigmas: Tensor, truth: Truth) -> Tensor:
    """Return the denoised images, shape (N, C, H, W), with one call for each noise level of ``sigmas``, shape (N,)."""
    denoised = noisy.clone()
    for sigma in sorted(set(sigmas.tolist())):
        places = (sigmas == sigma).nonzero()[:, 0]
        part = replace(truth, clean=truth.clean[places.to(truth.clean.device)])
        denoised[places] = denoiser.denoise(noisy[places], sigma, part).to(denoised)
    return denoised
