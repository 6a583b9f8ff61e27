"""Contract checks of architectures: results, invariances, gradients, and a few seconds of training."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gahbench._util.error_text import error_with_location
from gahbench._util.errors import GahbenchError
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape, image_shape
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
from gahbench.testing.findings import Finding, attempt, expect, require
from gahbench.testing.on_meta import DEVICE, check_on_meta
from gahbench.testing.samples import sample_images, sample_noise

#: Image sides to try in order, until the architecture accepts a side.
SIZES = (32, 64, 128)
COUNT = 4
SIGMA = 0.1
#: Noise levels of a batch, over the range of the training recipes.
LEVELS = (0.01, 0.1, 0.3, 1.0)
#: Added to an accepted height and width, to get a size that is not a multiple of a power of 2.
ODD = (1, 3)
#: Numbers whose multiples are tried as image sides, for a network that fails on some sizes.
MULTIPLES = (1, 2, 4, 8, 16, 32)
SIZES_CHECK = "denoises other sizes, or raises ValueError"
#: Maximum number of steps and seconds of the test training.
MAX_STEPS, MAX_SECONDS = 150, 5.0
#: Minimum number of training steps; a network with fewer steps in the time limit cannot fail.
MIN_STEPS = 50
LEARNING_SIGMA = 0.5


def check_architecture(configured: Configured) -> Iterator[Finding]:
    """Check shapes, types, gradients, determinism and learning of an architecture at a small size."""
    size = _accepted_size(configured)
    levels = torch.full((COUNT,), SIGMA)
    for channels in (1, 3):
        shape = (channels, size, size)
        clean = sample_images(COUNT, shape)
        noisy = clean + sample_noise(clean, SIGMA)
        try:
            network = _build(configured, shape)
            denoised = _denoise(network, noisy, levels)
        except (ValueError, GahbenchError) as error:
            yield Finding(f"refuses images of {channels} channels", None, str(error))
            continue
        except Exception as error:
            yield require(f"denoises images of {pluralize(channels, 'channel')}", False, error_with_location(error))
        yield from _check_result(denoised, noisy)
        if channels == 1:
            yield _check_not_residual(denoised, clean, noisy - clean)
            yield from check_evaluation(network, noisy, levels)
            yield check_sizes(network, shape)
            yield from check_gradients(network, clean, noisy, levels)
            yield check_state(configured, network, noisy, levels)
            yield check_precision(network, noisy, levels)
            random = with_random_weights(_build(configured, shape), shape)
            yield Finding("homogeneity", None, homogeneity(homogeneity_residual(random, noisy, levels)))
            yield Finding("blind", None, "yes" if is_blind(random, noisy) else "no: the result depends on sigma")
            yield _check_planning(configured, shape)
            yield from _check_one_device(_build(configured, shape), shape)
            yield check_learning(_build(configured, shape), shape)
        yield check_layout(_build(configured, shape), noisy, levels, denoised)
        yield _check_differentiability(configured, network, noisy[:2], levels[:2])


def _accepted_size(configured: Configured) -> int:
    refusal: Exception | None = None
    for size in SIZES:
        try:
            _denoise(_build(configured, (1, size, size)), torch.zeros(1, 1, size, size), torch.ones(1))
        except (ValueError, GahbenchError) as error:
            refusal = error
        else:
            return size
    raise ValueError(f"refuses all of the sizes {SIZES}: {refusal}") from refusal


def _build(configured: Configured, shape: Shape) -> nn.Module:
    network = build_network(lambda: configured.build(shape))
    if not isinstance(network, nn.Module):
        raise TypeError(f"an architecture is a torch.nn.Module, not a {type(network).__name__}")
    return network.eval()


@torch.no_grad()
def _denoise(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Tensor:
    denoised: Tensor = network(noisy, sigma)
    return denoised


def _check_result(denoised: Tensor, noisy: Tensor) -> Iterator[Finding]:
    """Check shape, type and values of the first result."""
    yield require("returns one tensor", isinstance(denoised, Tensor), f"it returned a {type(denoised).__name__}")
    fault = _shape_fault(denoised, noisy)
    yield require(f"keeps the shape of images, {pluralize(noisy.shape[1], 'channel')}", fault is None, fault)
    dtype = str(denoised.dtype).removeprefix("torch.")
    yield Finding("returns float32 for float32", denoised.dtype == torch.float32, dtype)
    share = 1 - float(denoised.isfinite().double().mean())
    fault = f"{share:.0%} of the values are NaN or infinite, for untrained weights at sigma {SIGMA}"
    yield require("returns finite values", not share, fault)


def _check_not_residual(denoised: Tensor, clean: Tensor, noise: Tensor) -> Finding:
    rows = torch.stack([images.flatten().float() for images in (denoised, clean, noise)])
    with_clean, with_noise = torch.corrcoef(rows)[0, 1:].nan_to_num().tolist()
    passed = not (with_noise > 0.5 and with_noise > with_clean)
    detail = f"correlation with the clean image {with_clean:.2f}, with the noise {with_noise:.2f}, before training"
    if not passed:
        detail += "; forward must return the denoised image: subtract the estimated noise from the noisy image"
    return Finding("returns an image, not the noise", passed, detail)


def _check_differentiability(configured: Configured, network: nn.Module, noisy: Tensor, sigma: Tensor) -> Finding:
    """Try Jacobians by torch.func; if they fail, ask for the reason in the docstring."""
    obstacle = torch_func_obstacle(network, noisy, sigma)
    if obstacle is None:
        return Finding(f"is differentiable by torch.func, {pluralize(noisy.shape[1], 'channel')}", True)
    is_documented = "torch.func" in own_docstring(configured.plugin.factory)
    advice = "as its docstring says" if is_documented else "it has no Jacobian scores; give the reason in its docstring"
    return Finding("not differentiable by torch.func", None, f"{obstacle} ({advice})")


def _check_planning(configured: Configured, shape: Shape) -> Finding:
    """Check that the network is built on the meta device, on which `gahbench plan` counts its work and tries sizes."""
    try:
        with DEVICE:
            _denoise(configured.build(shape).eval(), torch.zeros(1, *shape), torch.ones(1))
    except Exception as error:
        return Finding("cannot be planned", None, f"plans do not know its work: {one_line(error)}")
    return Finding("can be planned, on torch's meta device", True)


def _check_one_device(network: nn.Module, shape: Shape) -> Iterator[Finding]:
    """Check that a network that was built on the CPU denoises and trains after it has moved to another device."""
    noisy, levels = torch.empty(2, *shape, device=DEVICE), torch.empty(2, device=DEVICE)
    finding = check_on_meta("denoises", lambda: _denoise(network.to(DEVICE), noisy, levels))
    yield finding
    if finding.passed and any(parameter.requires_grad for parameter in network.parameters()):
        yield check_on_meta("trains", lambda: network.train()(noisy, levels).square().mean().backward())


def check_evaluation(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    """Check that the results depend on each image and its noise level, and on nothing else."""
    denoised, repeated = _denoise(network, noisy, sigma), _denoise(network, noisy, sigma)

    def separately(images: Tensor, levels: Tensor) -> Tensor:
        return torch.cat([_denoise(network, images[i : i + 1], levels[i : i + 1]) for i in range(len(images))])

    def batch() -> str | None:
        difference = _compare(separately(noisy, sigma), denoised)
        return difference and f"the result for an image depends on the other images in the batch: {difference}"

    def noise_levels() -> str | None:
        # The noisy image is the same at every level, so that only the level can change the result.
        images, levels = noisy[:1].repeat(len(LEVELS), 1, 1, 1), torch.tensor(LEVELS)
        together = _denoise(network, images, levels)
        if not together.isfinite().all():
            return f"some values are not finite at noise levels {LEVELS}"
        difference = _compare(together, separately(images, levels))
        return difference and f"sigma has shape (N,), with one noise level for each image: {difference}"

    def changed_arguments() -> str | None:
        image, levels = noisy.clone(), sigma.clone()
        _denoise(network, image, levels)
        changed = ["noisy"] * (not image.equal(noisy)) + ["sigma"] * (not levels.equal(sigma))
        return f"it writes into {' and '.join(changed)}; work on a copy" if changed else None

    def batch_sizes() -> str | None:
        faults = (_shape_fault(_denoise(network, noisy[:count], sigma[:count]), noisy[:count]) for count in (1, 3))
        return next(filter(None, faults), None)

    yield Finding("is deterministic in evaluation", repeated.equal(denoised), _compare(repeated, denoised) or "")
    yield attempt("takes any number of images", batch_sizes)
    yield attempt("denoises each image of a batch separately in evaluation", batch)
    yield attempt("denoises each image of a batch at its own noise level", noise_levels)
    yield attempt("does not change its arguments", changed_arguments)
    yield attempt(
        "returns the same result after train() and eval()",
        lambda: _compare(_denoise(network.train().eval(), noisy, sigma), denoised),
    )


def check_layout(network: nn.Module, noisy: Tensor, sigma: Tensor, denoised: Tensor) -> Finding:
    """Check that images and weights may have the memory format channels_last, as in training."""

    def fault() -> str | None:
        memory_format: Any = torch.channels_last
        network.to(memory_format=memory_format)  # type: ignore[call-overload]
        return _compare(_denoise(network, noisy.contiguous(memory_format=memory_format), sigma), denoised)

    channels = pluralize(noisy.shape[1], "channel")
    return attempt(f"returns the same result in memory format channels_last, {channels}", fault)


def check_sizes(network: nn.Module, shape: Shape) -> Finding:
    """Check that images of sizes other than ``shape`` are denoised, or refused with a ``ValueError``."""
    channels, height, width = shape
    sizes = ((height, 2 * width), (height + ODD[0], width + ODD[1]), (height // 2 - 1, width), (5, 6))
    names: dict[str, list[str]] = {"takes": [], "refuses": [], "fails on": []}
    faults: list[str] = []
    for size in sizes:
        name = "x".join(map(str, size))
        try:
            fault = _size_fault(network, (channels, *size))
        except (ValueError, GahbenchError) as error:
            if not str(error).strip():
                return Finding(SIZES_CHECK, False, f"its error for {name} has no message; name the accepted sizes")
            names["refuses"].append(name)
            continue
        names["takes" if fault is None else "fails on"].append(name)
        faults += [fault] if fault is not None else []
    outcome = "; ".join(f"{verb} {', '.join(sizes)}" for verb, sizes in names.items() if sizes)
    if not faults:
        return Finding(SIZES_CHECK, True, outcome)
    accepted, advice = _advise(_find_multiple(network, shape), shape)
    return Finding(f"takes {accepted}", None, f"{outcome}: {faults[0]}; {advice}")


def _size_fault(network: nn.Module, shape: Shape) -> str | None:
    """Return how a network fails on images of a shape; ``ValueError`` and errors of gahbench pass through."""
    images = sample_images(2, shape)
    try:
        return _shape_fault(_denoise(network, images, torch.full((2,), 0.1)), images)
    except (ValueError, GahbenchError):
        raise
    except Exception as error:
        return one_line(error)


def _shape_fault(denoised: Tensor, images: Tensor) -> str | None:
    shape, expected = tuple(denoised.shape), tuple(images.shape)
    return None if shape == expected else f"returned {shape} for {expected}"


def _find_multiple(network: nn.Module, shape: Shape) -> int | None:
    """Return the smallest item of ``MULTIPLES`` whose multiples are accepted as image sides, or ``None``."""
    channels, height, width = shape
    for multiple in MULTIPLES:
        with contextlib.suppress(ValueError, GahbenchError):
            if _size_fault(network, (channels, height + multiple, width + 3 * multiple)) is None:
                return multiple
    return None


def _advise(multiple: int | None, shape: Shape) -> tuple[str, str]:
    """Return the accepted sizes, and how to tell `gahbench plan` about them or to accept other sizes."""
    declare = "raise ValueError in forward for other images, and name {}, so that plans refuse them"
    if multiple is None:
        sizes = f"only images of {shape[1]}x{shape[2]} pixels, among the tried sizes"
        return sizes, declare.format("sizes")
    if multiple == 1:
        return "all but small images", declare.format("the minimum side")
    return (
        f"only image sides that are multiples of {multiple}",
        f"{declare.format(f'multiples of {multiple}')}; or pad them there: H, W = noisy.shape[-2:]; "
        f"noisy = torch.nn.functional.pad(noisy, (0, -W % {multiple}, 0, -H % {multiple}), mode='replicate'), "
        f"and return denoised[..., :H, :W]; `module[..., multiple={multiple}]` pads for a network that you import",
    )


def check_state(configured: Configured, network: nn.Module, noisy: Tensor, sigma: Tensor) -> Finding:
    """Check that another instance with the same ``state_dict`` gives the same result."""

    def fault() -> str | None:
        other = configured.build(image_shape(noisy)).eval()
        # Save tied tensors twice, like stored weights; the constructor ties them again.
        state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
        other.load_state_dict(load(save(state)))
        original, copied = _denoise(network, noisy, sigma), _denoise(other, noisy, sigma)
        if original.equal(copied):
            return None
        difference = _difference(original, copied)
        return f"a copy with the same state_dict differs, {difference}; keep all state in parameters and buffers"

    return attempt("keeps all state in its state_dict", fault)


def check_precision(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Finding:
    """Check whether a network works under bfloat16 autocast, in which some hardware trains."""
    fault = "some values are not finite"
    try:
        with torch.autocast("cpu", torch.bfloat16):
            if _denoise(network, noisy, sigma).isfinite().all():
                return Finding("works in bfloat16", True)
    except Exception as error:
        fault = one_line(error)
    return Finding("does not work in bfloat16", None, f"{fault}; train with 'precision: float32'")


def _compare(result: Tensor, expected: Tensor) -> str | None:
    """Return the difference of two results in words; ``None`` if it is within rounding."""
    if result.shape != expected.shape:
        return f"shapes {tuple(result.shape)} and {tuple(expected.shape)}"
    scale = float(expected.abs().max()) or 1.0
    return None if torch.allclose(result, expected, atol=1e-4 * scale, rtol=1e-4) else _difference(result, expected)


def _difference(left: Tensor, right: Tensor) -> str:
    return f"largest difference {float((left - right).abs().max()):.1e}"


def check_gradients(network: nn.Module, clean: Tensor, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    """Check the gradients of the loss on clean and noisy images (N, C, H, W); this may change running averages."""
    network.train()
    network.zero_grad()
    (network(noisy, sigma) - clean).square().mean().backward()
    parameters = {name: item for name, item in network.named_parameters() if item.requires_grad}
    missing = [name for name, item in parameters.items() if item.grad is None]
    invalid = [name for name, item in parameters.items() if item.grad is not None and not item.grad.isfinite().all()]
    network.zero_grad()
    network.eval()
    yield Finding("has parameters to train", bool(parameters), f"{sum(p.numel() for p in parameters.values()):,}")
    yield expect("has finite gradients", not invalid, f"not finite: {', '.join(invalid[:3])}")
    if missing:
        yield Finding("some parameters have no gradient", None, ", ".join(missing[:3]))


def check_learning(network: nn.Module, shape: tuple[int, int, int]) -> Finding:
    """Train for a few seconds at a single noise level, until the error is below the error of the noisy images."""
    clean = sample_images(16, shape)
    levels = torch.full((len(clean),), LEARNING_SIGMA)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    network.train()
    started, losses = time.monotonic(), list[float]()
    recent, limit = math.inf, 0.9 * LEARNING_SIGMA**2
    while len(losses) < MIN_STEPS or (recent >= limit and len(losses) < MAX_STEPS):
        if time.monotonic() - started >= MAX_SECONDS:
            break
        noisy = clean + sample_noise(clean, LEARNING_SIGMA, draw=len(losses) + 1)
        loss = (network(noisy, levels) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        recent = sum(losses[-5:]) / len(losses[-5:])
    passed = recent < limit
    if not passed and len(losses) < MIN_STEPS:
        detail = f"{len(losses)} steps in {MAX_SECONDS:g} s; try a smaller network"
        return Finding("too slow for a test training", None, detail)
    detail = f"mean squared error {recent:.3f} after {len(losses)} steps; accepted: below {limit:.3f}"
    return Finding("learns to denoise", passed, detail)
