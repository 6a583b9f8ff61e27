"""Measured facts about networks: homogeneity, blindness, and support for torch.func."""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from gahbench._util.errors import error_text
from gahbench._util.noise import derive_seed, generator
from gahbench._util.shapes import Shape

#: Homogeneity residual below which a network counts as homogeneous, since rounding also causes a residual.
HOMOGENEOUS = 1e-3
#: Standard deviation of the perturbation of gains and biases.
SPREAD = 0.2
#: Number of passes in training mode, which change running averages from their initial values.
PASSES = 3


def with_random_weights(network: nn.Module, shape: Shape) -> nn.Module:
    """Give a network random weights of typical size, and return the network in evaluation mode."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(derive_seed("initialisation", "network facts"))
        for parameter in network.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                if parameter.ndim > 1:
                    parameter.normal_(0, math.sqrt(2 / parameter[0].numel()))
                else:
                    parameter.add_(SPREAD * torch.randn_like(parameter))
        # Passes change only buffers, such as running statistics.
        if next(network.buffers(), None) is not None:
            network.train()
            # Some networks fail in training mode, which is not checked here.
            with contextlib.suppress(Exception):
                for _ in range(PASSES):
                    network(torch.rand(2, *shape), torch.rand(2))
    return network.eval()


def random_images(count: int, shape: Shape) -> Tensor:
    """Return uniform white noise in [0, 1], shape (count, C, H, W), which is the same in every call."""
    return torch.rand(count, *shape, generator=generator("data", "network facts"))


def homogeneity_residual(network: nn.Module, noisy: Tensor, sigma: Tensor) -> float:
    """Return |f(2y, 2 sigma) - 2 f(y, sigma)| / |2 f(y, sigma)|, which is 0 for a bias-free network."""
    with torch.no_grad():
        once, twice = network(noisy, sigma).double(), network(2 * noisy, 2 * sigma).double()
    return float((twice - 2 * once).norm() / (2 * once).norm().clamp_min(1e-300))


def homogeneity(residual: float) -> str:
    """Return a description of a homogeneity residual for displays."""
    kind = "homogeneous" if residual < HOMOGENEOUS else "not homogeneous"
    value = f"{residual:.1e}" if residual else "0"
    return f"{kind}: |f(2y, 2σ) - 2f(y, σ)| / |2f(y, σ)| = {value}, with random weights"


def is_blind(network: nn.Module, noisy: Tensor) -> bool:
    """Return whether the output for noisy images (N, C, H, W) is the same at two noise levels."""
    levels = torch.full((len(noisy),), 0.1)
    with torch.no_grad():
        return torch.equal(network(noisy, levels), network(noisy, 4 * levels))


def torch_func_obstacle(network: nn.Module, noisy: Tensor, sigma: Tensor) -> str | None:
    """Return why ``torch.func`` cannot differentiate a network, or ``None`` if it can."""
    cotangents = torch.randn(3, *noisy.shape, generator=generator("noise", "network facts"))
    image = noisy.detach().requires_grad_()
    try:
        # Performance warnings are not an obstacle.
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            pull: Any = torch.func.vjp(lambda images: network(images, sigma), noisy.detach())[1]
            products = torch.func.vmap(lambda cotangent: pull(cotangent)[0])(cotangents)
            denoised = network(image, sigma)
            expected = torch.stack(
                [torch.autograd.grad(denoised, image, cotangent, retain_graph=True)[0] for cotangent in cotangents]
            )
    except (Exception, SystemExit) as error:
        return error_text(error)
    difference = float((products.detach() - expected).abs().max())
    is_small = difference <= 1e-3 * float(expected.abs().max())
    return None if is_small else f"its products differ from those of autograd by {difference:.1e}"
