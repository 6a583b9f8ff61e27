"""What an architecture must do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gahbench.registry import Configured
from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_images, sample_noise
from gahbench.training.recipe import Training
from gahbench.training.trainer import build_network

SIZES = (32, 64, 128)
#: The trial training ends after so many steps, or seconds.
TRIAL_STEPS, TRIAL_SECONDS = 150, 5.0
SIGMA = 0.5


def check_architecture(configured: Configured) -> Iterator[Finding]:
    """Check shapes, types, gradients, determinism and learning of an architecture at a small size."""
    size = _accepted_size(configured)
    for channels in (1, 3):
        network = _build(configured, (channels, size, size)).eval()
        clean = sample_images(4, (channels, size, size))
        noisy = clean + sample_noise(clean, 0.1)
        with torch.no_grad():
            denoised = network(noisy, torch.full((4,), 0.1))
        if not isinstance(denoised, Tensor):
            yield Finding("returns one tensor", False, f"it returned a {type(denoised).__name__}")
            return
        yield _shape(denoised, noisy)
        if denoised.shape != noisy.shape:
            return
        yield Finding("returns float32 for float32", denoised.dtype == torch.float32, _type(denoised))
        yield Finding("returns finite values", bool(denoised.isfinite().all()))
        if channels == 1:
            yield from _check_grey(configured, network, clean, noisy, denoised)


def _check_grey(
    configured: Configured, network: nn.Module, clean: Tensor, noisy: Tensor, denoised: Tensor
) -> Iterator[Finding]:
    sigma = torch.full((len(noisy),), 0.1)
    with torch.no_grad():
        again = network(noisy, sigma)
        alone = torch.cat([network(noisy[place : place + 1], sigma[:1]) for place in range(len(noisy))])
    yield Finding("is deterministic in evaluation", torch.equal(again, denoised), _difference(again, denoised))
    scale = float(denoised.abs().max()) or 1.0
    close = torch.allclose(alone, denoised, atol=1e-4 * scale, rtol=1e-4)
    detail = "" if close else f"an image's result depends on the others in its batch: {_difference(alone, denoised)}"
    yield Finding("treats each image of a batch alone in evaluation", close, detail)
    yield _image_not_residual(denoised, clean, noisy - clean)
    yield from _gradients(network, clean, noisy, sigma)
    yield _round_trip(configured, network, noisy, sigma, denoised)
    yield _homogeneity(network, noisy, sigma, denoised)
    yield _learning(configured, tuple(clean.shape[1:]))


def _accepted_size(configured: Configured) -> int:
    refused: Exception | None = None
    for size in SIZES:
        network = _build(configured, (1, size, size)).eval()
        try:
            with torch.no_grad():
                network(torch.zeros(1, 1, size, size), torch.ones(1))
        except ValueError as error:
            refused = error
        else:
            return size
    raise ValueError(f"takes none of the sizes {SIZES}: {refused}") from refused


def _build(configured: Configured, shape: tuple[int, int, int]) -> nn.Module:
    network = build_network(lambda: configured.build(shape), Training.model_validate({"initialisation": "own"}), 0)
    if not isinstance(network, nn.Module):
        raise TypeError(f"an architecture is a torch.nn.Module, not a {type(network).__name__}")
    return network


def _shape(denoised: Tensor, noisy: Tensor) -> Finding:
    wanted, got = tuple(noisy.shape), tuple(denoised.shape)
    detail = f"{wanted}" if wanted == got else f"returned {got} for images of {wanted}"
    return Finding(f"returns the shape it got, {wanted[1]} channel{'s' * (wanted[1] > 1)}", wanted == got, detail)


def _image_not_residual(denoised: Tensor, clean: Tensor, noise: Tensor) -> Finding:
    with_clean, with_noise = _correlation(denoised, clean), _correlation(denoised, noise)
    passed = not (with_noise > 0.5 and with_noise > with_clean)
    detail = f"correlation with the clean image {with_clean:.2f}, with the noise {with_noise:.2f}, before training"
    if not passed:
        detail += "; forward must return the denoised image: subtract the estimated noise from the noisy image"
    return Finding("returns an image, not the noise", passed, detail)


def _gradients(network: nn.Module, clean: Tensor, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    network.train()
    network.zero_grad()
    (network(noisy, sigma) - clean).square().mean().backward()
    parameters = {name: item for name, item in network.named_parameters() if item.requires_grad}
    missing = [name for name, item in parameters.items() if item.grad is None]
    wrong = [name for name, item in parameters.items() if item.grad is not None and not item.grad.isfinite().all()]
    network.zero_grad()
    network.eval()
    yield Finding("has parameters to train", bool(parameters), f"{sum(p.numel() for p in parameters.values()):,}")
    yield Finding("has finite gradients", not wrong, f"not finite: {', '.join(wrong[:3])}" if wrong else "")
    if missing:
        yield Finding("parameters that no gradient reaches", None, ", ".join(missing[:3]))


def _round_trip(configured: Configured, network: nn.Module, noisy: Tensor, sigma: Tensor, denoised: Tensor) -> Finding:
    # The gradient's pass in training mode may have moved running averages.
    with torch.no_grad():
        before = network(noisy, sigma)
    other = configured.build(tuple(noisy.shape[1:])).eval()  # type: ignore[arg-type]
    # As weights are kept: tied ones are written twice, and tied again by the constructor.
    state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    other.load_state_dict(load(save(state)))
    with torch.no_grad():
        after = other(noisy, sigma)
    same = torch.equal(before, after)
    detail = "" if same else f"a copy with the same state_dict differs by {_difference(before, after)}"
    return Finding("is all in its state_dict", same, detail)


def _homogeneity(network: nn.Module, noisy: Tensor, sigma: Tensor, denoised: Tensor) -> Finding:
    """Report how far f(2y, 2 sigma) is from 2 f(y, sigma): 0 for a bias-free network (SCIENCE: section 2)."""
    with torch.no_grad():
        once, twice = network(noisy, sigma), network(2 * noisy, 2 * sigma)
    residual = float((twice - 2 * once).norm() / (2 * once).norm().clamp_min(1e-12))
    kind = "homogeneous" if residual < 1e-3 else "not homogeneous"
    return Finding("homogeneity", None, f"{kind}: |f(2y) - 2f(y)| / |2f(y)| = {residual:.1e}")


def _learning(configured: Configured, shape: tuple[int, ...]) -> Finding:
    """Train for a few seconds at one noise level: any denoiser should soon do better than the noisy image."""
    network = _build(configured, shape)  # type: ignore[arg-type]
    clean = sample_images(16, shape)  # type: ignore[arg-type]
    levels = torch.full((len(clean),), SIGMA)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    network.train()
    started, losses = time.monotonic(), list[float]()
    while len(losses) < TRIAL_STEPS and time.monotonic() - started < TRIAL_SECONDS:
        noisy = clean + sample_noise(clean, SIGMA, draw=len(losses) + 1)
        loss = (network(noisy, levels) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    recent = sum(losses[-5:]) / len(losses[-5:])
    passed = recent < 0.9 * SIGMA**2
    detail = f"mean squared error {recent:.3f} after {len(losses)} steps; the noisy image has {SIGMA**2:.3f}"
    return Finding("learns to denoise", passed, detail)


def _correlation(left: Tensor, right: Tensor) -> float:
    left, right = (left - left.mean()).flatten(), (right - right.mean()).flatten()
    return float(left @ right / (left.norm() * right.norm()).clamp_min(1e-12))


def _difference(left: Tensor, right: Tensor) -> str:
    return f"largest difference {float((left - right).abs().max()):.1e}"


def _type(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")
