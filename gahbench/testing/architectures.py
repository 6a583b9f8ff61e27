"""Contract checks of architectures: results, invariances, gradients, and a few seconds of training."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gahbench._util.errors import GahbenchError, error_text, error_with_location
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape, image_shape
from gahbench.networks.initialisation import build_network
from gahbench.networks.network_facts import torch_func_obstacle
from gahbench.networks.trained import channels_last
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, attempt, require
from gahbench.testing.on_meta import DEVICE, check_on_meta
from gahbench.testing.samples import check_batches, check_denoised, difference, same, sample_images, sample_noise

#: Image sides to try in order, until the architecture accepts a side.
SIZES = (32, 64, 128)
#: Noise levels of the images, over the range of the training recipes.
LEVELS = (0.1, 0.01, 0.3, 1.0)
#: Maximum number of steps and seconds of the test training.
MAX_STEPS, MAX_SECONDS = 150, 5.0
#: Minimum number of training steps; a network with fewer steps in the time limit cannot fail.
MIN_STEPS = 50
LEARNING_SIGMA = 0.5


def check_architecture(configured: Configured) -> Iterator[Finding]:
    """Check shapes, types, gradients, determinism and learning of an architecture at a small size."""
    size, levels = _accepted_size(configured), torch.tensor(LEVELS)
    for channels in (1, 3):
        shape = (channels, size, size)
        clean, images = sample_images(len(levels), shape), pluralize(channels, "channel")
        noisy = clean + sample_noise(clean, levels.view(-1, 1, 1, 1))
        try:
            network = _build(configured, shape)
            denoised = _denoise(network, noisy, levels)
        except (ValueError, GahbenchError) as error:
            yield Finding(f"refuses images of {images}", None, str(error))
            continue
        except Exception as error:
            yield require(f"denoises images of {images}", False, error_with_location(error))
        yield from _check_network(network, _build(configured, shape), noisy, levels, denoised)
        if channels == 1:
            rows = torch.stack([image.flatten() for image in (denoised[0], clean[0], noisy[0] - clean[0])])
            with_clean, with_noise = torch.corrcoef(rows)[0, 1:].nan_to_num().tolist()
            detail = f"correlation with the clean image {with_clean:.2f}, with the noise {with_noise:.2f}"
            is_image = with_noise <= max(0.5, with_clean)
            yield Finding("returns the denoised image, not the noise", is_image, f"{detail}, before training")
            yield check_sizes(network, shape)
            yield from _check_abilities(configured, network, noisy, levels)
            yield check_learning(_build(configured, shape), shape)


def _check_network(
    network: nn.Module, other: nn.Module, noisy: Tensor, sigma: Tensor, denoised: Tensor
) -> Iterator[Finding]:
    """Check the denoised images of a network, and that another with the same weights returns them, in any layout."""
    yield from check_denoised(denoised, noisy)
    yield from check_batches(lambda part: _denoise(network, noisy[part], sigma[part]), denoised, noisy, sigma)
    # Save tied tensors twice, like stored weights; the constructor ties them again.
    state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    other.load_state_dict(load(save(state)))
    yield same("returns the same with a copy of its state_dict", _denoise(other, noisy, sigma), denoised)
    arranged, images = noisy.contiguous(memory_format=torch.channels_last), pluralize(noisy.shape[1], "channel")
    yield attempt(
        f"returns the same in memory format channels_last, {images}",
        lambda: difference(_denoise(channels_last(other, "cpu"), arranged, sigma), denoised, 1e-4),
    )
    obstacle = torch_func_obstacle(network, noisy[:2], sigma[:2])
    detail = f"no: {obstacle}; it has no Jacobian scores" if obstacle else ""
    yield Finding(f"has derivatives by torch.func, {images}", None if obstacle else True, detail)


def _accepted_size(configured: Configured) -> int:
    for size in SIZES:
        try:
            _denoise(_build(configured, (1, size, size)), torch.zeros(1, 1, size, size), torch.ones(1))
            return size
        except (ValueError, GahbenchError) as error:
            refusal = error
    raise ValueError(f"refuses all of the sizes {SIZES}: {refusal}") from refusal


def _build(configured: Configured, shape: Shape) -> nn.Module:
    network = build_network(lambda: configured.build(shape))
    if not isinstance(network, nn.Module):
        raise TypeError(f"an architecture is a torch.nn.Module, not a {type(network).__name__}")
    return network.eval()


@torch.no_grad()
def _denoise(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Tensor:
    return network(noisy, sigma)  # type: ignore[no-any-return]


def check_sizes(network: nn.Module, shape: Shape) -> Finding:
    """Check that images of sizes other than ``shape`` are denoised, or refused with a ``ValueError``."""
    (channels, height, width), check, outcomes = shape, "denoises other sizes, or raises ValueError", list[str]()
    for size in ((height, 2 * width), (height + 1, width + 3), (height // 2 - 1, width), (5, 6)):
        name, images = "x".join(map(str, size)), sample_images(2, (channels, *size))
        try:
            fault = difference(_denoise(network, images, torch.full((2,), 0.1)), images, math.inf)
            outcomes.append(f"fails on {name} ({fault})" if fault else f"takes {name}")
        except (ValueError, GahbenchError) as error:
            if not str(error).strip():
                return Finding(check, False, f"its error for {name} has no message; name the accepted sizes")
            outcomes.append(f"refuses {name}")
        except Exception as error:
            outcomes.append(f"fails on {name} ({error_text(error)})")
    detail = "; ".join(outcomes)
    if "fails on" not in detail:
        return Finding(check, True, detail)
    advice = "raise ValueError in forward for sizes that fail, and name accepted sizes, so that plans refuse them"
    return Finding(check, None, f"{detail}; {advice}; or pad images, as `module[..., multiple=8]` does")


def _check_abilities(configured: Configured, network: nn.Module, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    """Try a network in bfloat16, and on another device than the CPU."""

    def precision_fault() -> str | None:
        with torch.autocast("cpu", torch.bfloat16):
            return None if _denoise(network, noisy, sigma).isfinite().all() else "some values are not finite"

    finding = attempt("works in bfloat16", precision_fault)
    # A network may lack this ability.
    note = replace(finding, passed=None, detail=f"no: {finding.detail}; train with 'precision: float32'")
    yield finding if finding.passed else note
    moved, inputs = _build(configured, image_shape(noisy)), (noisy.to(DEVICE), sigma.to(DEVICE))
    yield (finding := check_on_meta("denoises", lambda: _denoise(moved.to(DEVICE), *inputs)))
    if finding.passed and any(parameter.requires_grad for parameter in moved.parameters()):
        yield check_on_meta("trains", lambda: moved.train()(*inputs).square().mean().backward())


def check_learning(network: nn.Module, shape: Shape) -> Finding:
    """Train for a few seconds at a single noise level, until the error is below the error of the noisy images."""
    clean = sample_images(16, shape)
    levels = torch.full((len(clean),), LEARNING_SIGMA)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    network.train()
    started, losses, limit = time.monotonic(), list[float](), 0.9 * LEARNING_SIGMA**2
    while len(losses) < MAX_STEPS and time.monotonic() - started < MAX_SECONDS:
        noisy = clean + sample_noise(clean, LEARNING_SIGMA, draw=len(losses) + 1)
        loss = (network(noisy, levels) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        recent = statistics.fmean(losses[-5:])
        if recent < limit and len(losses) >= MIN_STEPS:
            break
    detail = f"mean squared error {recent:.3f} after {len(losses)} steps; accepted: below {limit:.3f}"
    is_too_slow = len(losses) < MIN_STEPS and not recent < limit
    return Finding("learns to denoise", None if is_too_slow else recent < limit, detail)
