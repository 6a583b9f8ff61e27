"""Denoisers as samplers call them: with a noise level for each image."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError
from gahbench._util.resources import keep_freed_blocks
from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.denoisers import SEES_CLEAN, Denoiser, by_noise_level, validate_kind, visible_truth
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import Truth
from gahbench.devices.hardware import hardware
from gahbench.networks.precision import Choices, Precision
from gahbench.networks.trained import Trained, channels_last

#: Returns the denoised images, given noisy ones (N, C, H, W) and the noise level of each (N,), on one device.
Denoise = Callable[[Tensor, Tensor], Tensor]


def of_network(
    network: nn.Module,
    device: torch.device | str = "cpu",
    precision: Precision | Literal["auto"] = "float32",
    calls: int = 100,
    choices: Choices | None = None,
) -> Denoise:
    """Return a network as samplers call it: moved to a device, channels last, in evaluation mode.

    On a processor the C library keeps freed memory for the next layer, as in
    :func:`gahbench._util.resources.keep_freed_blocks`.

    Parameters
    ----------
    network
        Its ``forward(noisy, sigma)`` returns the denoised images; a blind one ignores sigma.
    device
        Where it computes.
    precision
        ``bfloat16`` runs it under autocast, which is two to three times as fast on some hardware and slower on other.
        The residuals of a network that subtracts what it computes then have a relative error of some 2^-8. ``auto``
        times the first batch in both, where float32 would need a minute or more.
    calls
        About how many batches will be denoised, for ``auto``: at least ``Sampling.ideal_steps()`` for each batch of
        samples.
    choices
        The precisions that were chosen before, for ``auto``.
    """
    network = channels_last(network, device).eval()
    kind = torch.device(device).type
    chosen: list[Precision] = [] if precision == "auto" else [precision]
    if kind == "cpu":
        keep_freed_blocks()

    def run(noisy: Tensor, sigma: Tensor, precision: Precision) -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            denoised: Tensor = network(noisy, sigma)
        return denoised.float()

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        if not chosen:
            # Some ten passes may be timed, in a hundredth of the work.
            count = max(1, min(len(noisy), len(noisy) * calls // 1000))
            passes, part = calls * len(noisy) / count, (noisy[:count], sigma[:count])
            shape = (count, *image_shape(noisy))
            with hardware(noisy.device).restored():
                made = (choices or Choices()).make(
                    "sampling", network, shape, noisy.device, passes, functools.partial(run, *part)
                )
            chosen.append(made.precision)
        return run(noisy, sigma, chosen[0])

    return denoise


def of_denoiser(
    denoiser: Denoiser, shape: Shape, dataset: Dataset | None = None, device: torch.device | str = "cpu"
) -> Denoise:
    """Return a denoiser as samplers call it.

    A network receives the noise level of each image of a batch. Another denoiser takes one noise level a call: images
    with the same one are denoised together, others apart, unless it is a reference that can do better
    (:meth:`Reference.denoise_each`).

    Parameters
    ----------
    denoiser
        A trained network, or a reference that is fitted.
    shape
        Shape (C, H, W) of the images.
    dataset
        The dataset, for an ``optimal`` reference.
    device
        Where a network computes.

    Raises
    ------
    ParameterError
        If it must see the clean image, which a sample does not have.
    ValueError
        If its kind is unknown.
    """
    if validate_kind(denoiser.kind) in SEES_CLEAN:
        raise ParameterError(
            f"its kind is '{denoiser.kind}': it sees the clean image, and a sample has none; accepted are denoisers of "
            "the kinds trained, classical and optimal"
        )
    network = denoiser.network if isinstance(denoiser, Trained) else None
    if isinstance(denoiser, Reference):
        denoiser.move(torch.device(device))
        network = denoiser.as_network(shape)
    if network is not None:
        return of_network(network, device)
    each = denoiser.denoise_each if isinstance(denoiser, Reference) else functools.partial(by_noise_level, denoiser)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        images = noisy.cpu()
        truth = visible_truth(denoiser.kind, Truth(images, dataset))
        return each(images, sigma.cpu(), truth).float().to(noisy.device)

    return denoise


def images_device(denoiser: Denoiser, shape: Shape, device: torch.device) -> torch.device:
    """Return where to draw samples from a denoiser that computes on a device.

    Networks take images there. Other denoisers take them from the CPU, and a GPU would be waited for at every step.

    Parameters
    ----------
    denoiser
        As of :func:`of_denoiser`.
    shape
        Shape (C, H, W) of the images.
    device
        Where the denoiser computes.
    """
    is_network = isinstance(denoiser, Trained) or (
        isinstance(denoiser, Reference) and denoiser.as_network(shape) is not None
    )
    return device if is_network else torch.device("cpu")


def residuals(denoise: Denoise, noisy: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the residuals f(y) - y, shape (N, C, H, W), and the root mean square of each, shape (N,), float64."""
    denoised = denoise(noisy, sigma)
    if denoised.shape != noisy.shape:
        # Broadcasting would hide it.
        raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
    residual = denoised - noisy
    return residual, residual.flatten(1).square().mean(1).double().sqrt()
