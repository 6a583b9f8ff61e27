"""Block matching and 3-D filtering (BM3D)."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor

from gahbench import Reference, Truth
from gahbench_plugins.bases.dct import dct_matrix
from gahbench_plugins.references.tuned import pad_by_reflection

#: Side of a patch, in pixels.
PATCH = 8
#: Groups of patches that are filtered together; with more groups, allocating memory dominates the time.
CHUNK = 32


class BM3D(Reference):
    """BM3D: filters stacks of similar patches, first by thresholding, then by a Wiener filter (Dabov et al. 2007).

    The reference calls the torch implementation of deepinv (BSD licence), with its defaults: 8x8 patches within 19
    pixels in rows and columns, groups of 16 and then 32 patches, a threshold of 3 sigma, and 0.4 sigma^2 in the Wiener
    weights. It is not the authors' program. Colour images are denoised in opponent colours, an orthonormal DCT across
    the channels; patches are matched in the first opponent colour, the grey image (Dabov et al. 2007, "Color image
    denoising"). All image sizes are accepted; images with a side below 8 pixels are extended by reflection.

    The reference needs the extra ``bm3d``, computes in float32, and takes 2 s for a 160x160 image on one core.

    Raises
    ------
    ValueError
        If the extra is not installed.
    """

    display_name = "BM3D"
    citation = "dabov-2007"

    def __init__(self) -> None:
        missing = [name for name in ("deepinv", "ptwt") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f'the package {missing[0]} is not installed: pip install "gahbench[bm3d]"')

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W); unchanged images if ``sigma`` is 0."""
        if sigma == 0:
            return noisy
        height, width = noisy.shape[-2:]
        below, right = PATCH + max(height, PATCH), PATCH + max(width, PATCH)
        images = pad_by_reflection(noisy.float(), PATCH)[..., PATCH:below, PATCH:right]
        colours = dct_matrix(noisy.shape[1], torch.float32, noisy.device)
        with torch.no_grad():
            denoised = _filter(str(noisy.device))(torch.einsum("kc,nchw->nkhw", colours, images), sigma)
        return torch.einsum("kc,nkhw->nchw", colours, denoised)[..., :height, :width].to(noisy.dtype)


@functools.lru_cache(maxsize=2)
def _filter(device: str) -> Any:
    """Return the filter of deepinv, a module that is called with images and sigma."""
    from deepinv.models import BM3D as Filter

    # The default ``use_legacy=True`` calls the package ``bm3d``, whose licence is non-commercial.
    return Filter(use_legacy=False, device=device, patch_size=PATCH, chunk_size=CHUNK)
