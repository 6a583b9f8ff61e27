"""Block matching and 3-D filtering, the best of the classics."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor

from gahbench import Reference, Truth

from .._papers import DABOV_2007
from ..bases._extension import mirrored
from ..bases.dct import dct_matrix

#: Side of a patch.
PATCH = 8
#: Groups of patches that are filtered together: few, as fresh memory takes longer than arithmetic.
CHUNK = 32


class BM3D(Reference):
    """BM3D: alike patches are stacked and filtered together, by a threshold first, then as Wiener (Dabov et al. 2007).

    The implementation is the one of deepinv (BSD licence) in torch, with its defaults: patches of 8x8 within 19 pixels
    in rows and columns, groups of 16 and then 32, a threshold of 3 sigma, and 0.4 sigma^2 in the Wiener weights. It is
    not the authors' program. Colour images are denoised in opponent colours, an orthonormal DCT across the channels
    whose first is the grey image; patches are matched in that one (Dabov et al. 2007, "Color image denoising"). Every
    image size is taken; sides below 8 are continued by the mirror image for the time being.

    It needs the extra ``bm3d``, and takes 2 s for a 160x160 image on one core. It computes in float32.

    Raises
    ------
    ValueError
        If the extra is not installed.
    """

    citation = DABOV_2007

    def __init__(self) -> None:
        missing = [name for name in ("deepinv", "ptwt") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f'the package {missing[0]} is not installed: pip install "gahbench[bm3d]"')

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); without noise, the images as they are."""
        if sigma == 0:
            return noisy
        height, width = noisy.shape[-2:]
        images = mirrored(noisy.float(), (max(height, PATCH), max(width, PATCH)))
        colours = dct_matrix(noisy.shape[1], torch.float32, noisy.device)
        with torch.no_grad():
            found = _filter(str(noisy.device))(torch.einsum("kc,nchw->nkhw", colours, images), sigma)
        return torch.einsum("kc,nkhw->nchw", colours, found)[..., :height, :width].to(noisy.dtype)


@functools.lru_cache(maxsize=2)
def _filter(device: str) -> Any:
    """Return the filter, a module called with images and sigma; it takes one image at a time."""
    from deepinv.models import BM3D as Filter

    # Without ``use_legacy=False`` it would call the package ``bm3d``, whose licence is non-commercial.
    return Filter(use_legacy=False, device=device, patch_size=PATCH, chunk_size=CHUNK)
