"""What a reference must do."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gahbench.contracts import Reference
from gahbench.registry import Configured
from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_images, sample_noise

SHAPE = (1, 32, 32)
SIGMA = 0.1
DRAWS = 200


def check_reference(configured: Configured) -> Iterator[Finding]:
    """Check shapes, honesty about the clean image, batches, and the closed-form risk of a reference."""
    reference = configured.build()
    if not isinstance(reference, Reference):
        yield Finding("is a gahbench.Reference", False, f"it is a {type(reference).__name__}")
        return
    for shape in (SHAPE, (3, 32, 32)):
        reference.check_shape(shape)
        clean = sample_images(4, shape)
        noisy = clean + sample_noise(clean, SIGMA)
        denoised = reference.denoise(noisy, SIGMA, clean)
        same = denoised.shape == noisy.shape
        yield Finding(f"returns the shape it got, {shape[0]} channels", same, f"{tuple(denoised.shape)}")
        if not same:
            return
        yield Finding("returns finite float32", denoised.dtype == torch.float32 and bool(denoised.isfinite().all()))
    clean = sample_images(4, SHAPE)
    noisy = clean + sample_noise(clean, SIGMA)
    denoised = reference.denoise(noisy, SIGMA, clean)
    yield Finding("is deterministic", torch.equal(denoised, reference.denoise(noisy, SIGMA, clean)))
    alone = torch.cat([reference.denoise(noisy[i : i + 1], SIGMA, clean[i : i + 1]) for i in range(4)])
    yield Finding("treats each image of a batch alone", torch.allclose(alone, denoised, atol=1e-5))
    if reference.kind != "oracle":
        blind = torch.equal(denoised, reference.denoise(noisy, SIGMA, clean.flip(0)))
        detail = "" if blind else "it looks at the clean image; its kind must be 'oracle'"
        yield Finding("does not look at the clean image", blind, detail)
    risk = reference.risk(clean[:1], SIGMA)
    if risk is not None:
        yield _risk(reference, clean[:1], float(risk[0]))


def _risk(reference: Reference, clean: torch.Tensor, risk: float) -> Finding:
    """Compare the closed form with a Monte Carlo mean, at four standard errors."""
    copies = clean.expand(DRAWS, *clean.shape[1:])
    noisy = copies + sample_noise(copies, SIGMA, draw=1)
    errors = (reference.denoise(noisy, SIGMA, copies) - copies).square().mean(dim=(1, 2, 3))
    mean, error = float(errors.mean()), float(errors.std() / DRAWS**0.5)
    passed = abs(mean - risk) < 4 * error + 1e-9
    return Finding("closed-form risk agrees with Monte Carlo", passed, f"{risk:.3e}, {mean:.3e} ± {error:.0e}")
