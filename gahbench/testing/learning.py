"""Whether an architecture can be trained: gradients, and a few seconds of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gahbench.testing.findings import Finding
from gahbench.testing.samples import sample_images, sample_noise

#: Maximum steps and seconds of the test training.
MAX_STEPS, MAX_SECONDS = 150, 5.0
#: Fewer steps show nothing.
MIN_STEPS = 50
SIGMA = 0.5


def check_gradients(network: nn.Module, clean: Tensor, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    """Check the gradients of the loss on clean and noisy images (N, C, H, W); running averages may move."""
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


def check_learning(network: nn.Module, shape: tuple[int, int, int]) -> Finding:
    """Train for a few seconds at one noise level: any denoiser should soon do better than the noisy image."""
    clean = sample_images(16, shape)
    levels = torch.full((len(clean),), SIGMA)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    network.train()
    started, losses = time.monotonic(), list[float]()
    while len(losses) < MAX_STEPS and time.monotonic() - started < MAX_SECONDS:
        noisy = clean + sample_noise(clean, SIGMA, draw=len(losses) + 1)
        loss = (network(noisy, levels) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    recent = sum(losses[-5:]) / len(losses[-5:])
    limit = 0.9 * SIGMA**2
    passed = recent < limit
    if not passed and len(losses) < MIN_STEPS:
        return Finding("too slow to be trained here", None, f"{len(losses)} steps in {MAX_SECONDS:g} s; try it smaller")
    detail = f"mean squared error {recent:.3f} after {len(losses)} steps; accepted: below {limit:.3f}"
    return Finding("learns to denoise", passed, detail)
