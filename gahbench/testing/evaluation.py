"""Contract checks of architectures in evaluation: what must not change their results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from gahbench._util.errors import GahbenchError
from gahbench._util.readable import counted
from gahbench._util.shapes import Shape, image_shape
from gahbench.networks.network_facts import one_line
from gahbench.registry.configured import Configured
from gahbench.testing.findings import Finding, attempt
from gahbench.testing.samples import sample_images, sample_noise

#: Noise levels of one batch, over the range of the recipes.
LEVELS = (0.01, 0.1, 0.3, 1.0)
#: Maximum distance of a size from an accepted one.
ODD = (1, 3)
#: Numbers whose multiples are tried as sides of a network that fails on others.
MULTIPLES = (1, 2, 4, 8, 16, 32)
SIZES_CHECK = "denoises other sizes, or refuses them with a ValueError"


def check_evaluation(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Iterator[Finding]:
    """Check that the results depend on each image and its noise level, and on nothing else."""
    with torch.no_grad():
        denoised = network(noisy, sigma)
        again = network(noisy, sigma)

        def alone() -> str | None:
            single = [network(noisy[i : i + 1], sigma[i : i + 1]) for i in range(len(noisy))]
            what = _differ(torch.cat(single), denoised)
            return what and f"an image's result depends on the others in its batch: {what}"

        def at_its_own_level() -> str | None:
            # The same noisy image at every level, so that the results differ by nothing else.
            levels = torch.tensor(LEVELS)
            together = network(noisy[:1].expand(len(levels), -1, -1, -1).contiguous(), levels)
            if not together.isfinite().all():
                return f"values that are not finite, at noise levels {LEVELS}"
            single = torch.cat([network(noisy[:1], levels[i : i + 1]) for i in range(len(levels))])
            what = _differ(together, single)
            return what and f"sigma has shape (N,), one level for each image: {what}"

        def arguments_stay() -> str | None:
            image, levels = noisy.clone(), sigma.clone()
            network(image, levels)
            changed = [
                name for name, one, two in (("noisy", image, noisy), ("sigma", levels, sigma)) if not one.equal(two)
            ]
            return f"it writes into {' and '.join(changed)}; work on a copy" if changed else None

        def any_count() -> str | None:
            for count in (1, 3):
                got = tuple(network(noisy[:count], sigma[:count]).shape)
                if got != tuple(noisy[:count].shape):
                    return f"returned {got} for images of {tuple(noisy[:count].shape)}"
            return None

        def modes() -> str | None:
            network.train()
            network.eval()
            return _differ(network(noisy, sigma), denoised)

        yield Finding("is deterministic in evaluation", again.equal(denoised), _differ(again, denoised) or "")
        yield attempt("takes any number of images", any_count)
        yield attempt("treats each image of a batch alone in evaluation", alone)
        yield attempt("denoises each image of a batch at its own noise level", at_its_own_level)
        yield attempt("leaves its arguments as they are", arguments_stay)
        yield attempt("is the same in evaluation after train() and eval()", modes)


def check_layout(network: nn.Module, noisy: Tensor, sigma: Tensor, denoised: Tensor) -> Finding:
    """Check that images and weights may be stored with the channels last, as they are in training."""

    def fault() -> str | None:
        last: Any = torch.channels_last
        network.to(memory_format=last)  # type: ignore[call-overload]
        with torch.no_grad():
            return _differ(network(noisy.contiguous(memory_format=last), sigma), denoised)

    return attempt(f"is the same for tensors with channels last, {counted(noisy.shape[1], 'channel')}", fault)


def check_sizes(network: nn.Module, shape: Shape) -> Finding:
    """Check that images of other sizes than (C, H, W) are denoised, or refused with a ``ValueError``."""
    channels, height, width = shape
    sizes = ((height, 2 * width), (height + ODD[0], width + ODD[1]), (height // 2 - 1, width), (5, 6))
    taken, refused, failed = list[str](), list[str](), dict[str, str]()
    for size in sizes:
        name = "x".join(map(str, size))
        try:
            fault = _size_fault(network, (channels, *size))
        except (ValueError, GahbenchError) as error:
            if not str(error).strip():
                return Finding(SIZES_CHECK, False, f"refuses {name} without a message; name the accepted sizes")
            refused.append(name)
            continue
        if fault is None:
            taken.append(name)
        else:
            failed[name] = fault
    parts = [f"takes {', '.join(taken)}"] * bool(taken) + [f"refuses {', '.join(refused)}"] * bool(refused)
    if not failed:
        return Finding(SIZES_CHECK, True, "; ".join(parts))
    parts += [f"fails on {', '.join(failed)}: {next(iter(failed.values()))}"]
    multiple = _multiple(network, shape)
    return Finding(f"takes {_accepted(shape, multiple)}", None, "; ".join([*parts, _advice(shape, multiple)]))


def _size_fault(network: nn.Module, shape: Shape) -> str | None:
    """Return how a network fails on images of a shape; ``ValueError`` and gahbench's own errors are raised."""
    images = sample_images(2, shape)
    try:
        with torch.no_grad():
            found = network(images, torch.full((2,), 0.1))
    except (ValueError, GahbenchError):
        raise
    except Exception as error:
        return one_line(error)
    return None if found.shape == images.shape else f"returned {tuple(found.shape)} for {tuple(images.shape)}"


def _multiple(network: nn.Module, shape: Shape) -> int | None:
    """Return the smallest number whose multiples are sides that a network takes; ``None`` if none was found."""
    channels, height, width = shape
    for multiple in MULTIPLES:
        try:
            fault = _size_fault(network, (channels, height + multiple, width + 3 * multiple))
        except (ValueError, GahbenchError):
            continue
        if fault is None:
            return multiple
    return None


def _accepted(shape: Shape, multiple: int | None) -> str:
    if multiple is None:
        return f"images of {shape[1]}x{shape[2]} pixels alone, as far as tried"
    return "all but small images" if multiple == 1 else f"image sides that are multiples of {multiple} alone"


def _advice(shape: Shape, multiple: int | None) -> str:
    """Return what lets `gahbench plan` know the accepted sizes, and what makes a network take others."""
    sizes = "a least side" if multiple == 1 else "sizes" if multiple is None else f"multiples of {multiple}"
    declare = (
        f"what is missing: raise ValueError in forward for other images, naming {sizes}, so that plans refuse them"
    )
    if multiple in (None, 1):
        return declare
    return (
        f"{declare}; or pad them there: H, W = noisy.shape[-2:]; noisy = torch.nn.functional.pad(noisy, (0, -W % "
        f"{multiple}, 0, -H % {multiple}), mode='replicate'), and return denoised[..., :H, :W]; "
        f"`module[..., multiple={multiple}]` pads for a network that you import"
    )


def check_state(configured: Configured, network: nn.Module, noisy: Tensor, sigma: Tensor) -> Finding:
    """Check that another instance with the same ``state_dict`` gives the same result."""

    def fault() -> str | None:
        other = configured.build(image_shape(noisy)).eval()
        # As weights are kept: tied ones are written twice, and tied again by the constructor.
        state = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
        other.load_state_dict(load(save(state)))
        with torch.no_grad():
            before, after = network(noisy, sigma), other(noisy, sigma)
        if before.equal(after):
            return None
        differs = _difference(before, after)
        return f"a copy with the same state_dict differs, {differs}; what it keeps belongs in parameters and buffers"

    return attempt("is all in its state_dict", fault)


def check_precision(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Finding:
    """Check whether a network works under bfloat16 autocast, in which some hardware trains."""
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            sound = bool(network(noisy, sigma).isfinite().all())
    except Exception as error:
        return Finding("does not work in bfloat16", None, f"{one_line(error)}; train with 'precision: float32'")
    if sound:
        return Finding("works in bfloat16", True)
    return Finding("does not work in bfloat16", None, "values that are not finite; train with 'precision: float32'")


def noisy_images(count: int, shape: Shape, sigma: float) -> tuple[Tensor, Tensor]:
    """Return clean images, and the same with noise of standard deviation ``sigma``, each (count, C, H, W)."""
    clean = sample_images(count, shape)
    return clean, clean + sample_noise(clean, sigma)


def _differ(found: Tensor, expected: Tensor) -> str | None:
    """Return by how much two results differ, or ``None`` if by no more than rounding."""
    if found.shape != expected.shape:
        return f"shapes {tuple(found.shape)} and {tuple(expected.shape)}"
    scale = float(expected.abs().max()) or 1.0
    return None if torch.allclose(found, expected, atol=1e-4 * scale, rtol=1e-4) else _difference(found, expected)


def _difference(left: Tensor, right: Tensor) -> str:
    return f"largest difference {float((left - right).abs().max()):.1e}"
