"""Contract checks of architectures."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gahbench._util.error_text import error_with_place
from gahbench._util.errors import GahbenchError
from gahbench._util.readable import counted
from gahbench._util.shapes import Shape
from gahbench.networks.initialisation import build_network
from gahbench.networks.network_facts import (
    homogeneity,
    homogeneity_residual,
    is_blind,
    one_line,
    torch_func_obstacle,
    with_random_weights,
)
from gahbench.registry.configured import Configured
from gahbench.registry.source import own_docstring
from gahbench.testing.evaluation import (
    check_evaluation,
    check_layout,
    check_precision,
    check_sizes,
    check_state,
    noisy_images,
)
from gahbench.testing.findings import Finding
from gahbench.testing.learning import check_gradients, check_learning

#: Sides that are tried until one is accepted.
SIZES = (32, 64, 128)
COUNT = 4
SIGMA = 0.1


def check_architecture(configured: Configured) -> Iterator[Finding]:
    """Check shapes, types, gradients, determinism and learning of an architecture at a small size."""
    size = _accepted_size(configured)
    levels = torch.full((COUNT,), SIGMA)
    for channels in (1, 3):
        shape = (channels, size, size)
        clean, noisy = noisy_images(COUNT, shape, SIGMA)
        name = f"denoises images of {counted(channels, 'channel')}"
        try:
            network = _build(configured, shape).eval()
            with torch.no_grad():
                denoised = network(noisy, levels)
        except (ValueError, GahbenchError) as error:
            yield Finding(f"refuses images of {channels} channels", None, str(error))
            continue
        except Exception as error:
            yield Finding(name, False, error_with_place(error))
            return
        if not isinstance(denoised, Tensor):
            yield Finding("returns one tensor", False, f"it returned a {type(denoised).__name__}")
            return
        yield _shape(denoised, noisy)
        if denoised.shape != noisy.shape:
            return
        yield Finding("returns float32 for float32", denoised.dtype == torch.float32, _type(denoised))
        if not denoised.isfinite().all():
            share = 1 - float(denoised.isfinite().double().mean())
            text = f"{share:.0%} of the values are NaN or infinite, for untrained weights at sigma {SIGMA}"
            yield Finding("returns finite values", False, text)
            return
        yield Finding("returns finite values", True)
        if channels == 1:
            yield _image_not_residual(denoised, clean, noisy - clean)
            yield from check_evaluation(network, noisy, levels)
            yield check_sizes(network, shape)
            yield from check_gradients(network, clean, noisy, levels)
            yield check_state(configured, network, noisy, levels)
            yield check_precision(network, noisy, levels)
            yield from _facts(with_random_weights(_build(configured, shape), shape), noisy, levels)
            yield _on_meta(configured, shape)
            yield check_learning(_build(configured, shape), shape)
        yield check_layout(_build(configured, shape).eval(), noisy, levels, denoised)
        yield _differentiable(configured, network, noisy[:2], levels[:2])


def _accepted_size(configured: Configured) -> int:
    refused: Exception | None = None
    for size in SIZES:
        try:
            network = _build(configured, (1, size, size)).eval()
            with torch.no_grad():
                network(torch.zeros(1, 1, size, size), torch.ones(1))
        except (ValueError, GahbenchError) as error:
            refused = error
        else:
            return size
    raise ValueError(f"takes none of the sizes {SIZES}: {refused}") from refused


def _build(configured: Configured, shape: Shape) -> nn.Module:
    network = build_network(lambda: configured.build(shape))
    if not isinstance(network, nn.Module):
        raise TypeError(f"an architecture is a torch.nn.Module, not a {type(network).__name__}")
    return network


def _shape(denoised: Tensor, noisy: Tensor) -> Finding:
    wanted, got = tuple(noisy.shape), tuple(denoised.shape)
    detail = f"{wanted}" if wanted == got else f"returned {got} for images of {wanted}"
    return Finding(f"returns the shape it got, {counted(wanted[1], 'channel')}", wanted == got, detail)


def _image_not_residual(denoised: Tensor, clean: Tensor, noise: Tensor) -> Finding:
    with_clean, with_noise = _correlation(denoised, clean), _correlation(denoised, noise)
    passed = not (with_noise > 0.5 and with_noise > with_clean)
    detail = f"correlation with the clean image {with_clean:.2f}, with the noise {with_noise:.2f}, before training"
    if not passed:
        detail += "; forward must return the denoised image: subtract the estimated noise from the noisy image"
    return Finding("returns an image, not the noise", passed, detail)


def _facts(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    """Report facts that are not judged, of a network with random weights."""
    yield Finding("homogeneity", None, homogeneity(homogeneity_residual(network, noisy, sigma)))
    yield Finding("blind", None, "yes" if is_blind(network, noisy) else "no: the result depends on sigma")


def _differentiable(configured: Configured, network: nn.Module, noisy: Tensor, sigma: Tensor) -> Finding:
    """Try Jacobians by torch.func; if they fail, the docstring must say why."""
    name = f"is differentiable by torch.func, {counted(noisy.shape[1], 'channel')}"
    obstacle = torch_func_obstacle(network, noisy, sigma)
    if obstacle is None:
        return Finding(name, True)
    said = "torch.func" in own_docstring(configured.plugin.factory)
    advice = "as its docstring says" if said else "no Jacobian scores for it; say why in its docstring"
    return Finding("not differentiable by torch.func", None, f"{obstacle} ({advice})")


def _on_meta(configured: Configured, shape: Shape) -> Finding:
    """Check that it runs on the meta device, where `gahbench plan` counts its work and tries sizes."""
    try:
        with torch.device("meta"), torch.no_grad():
            configured.build(shape).eval()(torch.zeros(1, *shape), torch.ones(1))
    except Exception as error:
        return Finding("cannot be planned", None, f"its work is not known before it runs: {one_line(error)}")
    return Finding("can be planned, on torch's meta device", True)


def _correlation(left: Tensor, right: Tensor) -> float:
    left, right = (left - left.mean()).flatten(), (right - right.mean()).flatten()
    return float(left @ right / (left.norm() * right.norm()).clamp_min(1e-12))


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
