"""Adapters that turn denoisers into functions of images and a noise level for each image, for samplers."""

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
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import SEES_CLEAN, Denoiser, Truth, denoise_by_level, validate_kind, visible_truth
from gahbench.devices.hardware import hardware
from gahbench.networks.precision import Choices, Precision
from gahbench.networks.trained import Trained, channels_last

#: A function that returns the denoised images, given noisy images (N, C, H, W) and noise levels (N,) on one device.
Denoise = Callable[[Tensor, Tensor], Tensor]


def wrap_network(
    network: nn.Module,
    device: torch.device | str = "cpu",
    precision: Precision | Literal["auto"] = "float32",
    calls: int = 100,
    choices: Choices | None = None,
) -> Denoise:
    """Return a denoising function of a network, which is moved to a device and put into evaluation mode.

    Kernels are converted to channels-last layout. On a CPU, the C library is set to keep freed memory for the next
    layer (:func:`gahbench._util.resources.keep_freed_blocks`).

    Parameters
    ----------
    network
        A module whose ``forward(noisy, sigma)`` returns the denoised images; a blind network ignores sigma.
    device
        Device on which the network computes.
    precision
        ``bfloat16`` runs the network under autocast, which is two to three times as fast on some hardware and slower on
        other hardware. Residuals of a network that predicts the residual then have a relative error of about 2^-8.
        ``auto`` times the first batch in both precisions, if float32 would take a minute or more.
    calls
        Approximate number of batches that will be denoised, for ``auto``: at least ``Sampling.ideal_steps()`` for each
        batch of samples.
    choices
        Precisions that were chosen earlier, which ``auto`` reuses.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> denoise = wrap_network(gahbench.create("architecture", "dncnn", width=4, layers=3))
    >>> denoise(torch.rand(2, 1, 8, 8), torch.tensor([0.1, 0.2])).shape
    torch.Size([2, 1, 8, 8])
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
            # Up to ten passes are timed, which should take at most a hundredth of the work.
            count = max(1, min(len(noisy), len(noisy) * calls // 1000))
            passes, subset = calls * len(noisy) / count, (noisy[:count], sigma[:count])
            shape = (count, *image_shape(noisy))
            with hardware(noisy.device).restore_generators():
                choice = (choices or Choices()).make(
                    "sampling", network, shape, noisy.device, passes, functools.partial(run, *subset)
                )
            chosen.append(choice.precision)
        return run(noisy, sigma, chosen[0])

    return denoise


def wrap_denoiser(
    denoiser: Denoiser, shape: Shape, dataset: Dataset | None = None, device: torch.device | str = "cpu"
) -> Denoise:
    """Return a denoising function of a denoiser.

    A network, or a reference as a network (:meth:`Reference.as_network`), receives the noise level of each image of a
    batch. Other denoisers take one noise level per call, so images are grouped by noise level.

    Parameters
    ----------
    denoiser
        A trained network, or a fitted reference.
    shape
        Shape (C, H, W) of the images.
    dataset
        The dataset, for an ``optimal`` reference.
    device
        Device on which a network computes.

    Raises
    ------
    ParameterError
        If the denoiser needs the clean image, which a sample does not have.
    ValueError
        If the kind of the denoiser is unknown.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> denoise = wrap_denoiser(gahbench.create("reference", "low-pass"), (1, 8, 8))
    >>> denoise(torch.rand(2, 1, 8, 8), torch.tensor([0.1, 0.2])).shape
    torch.Size([2, 1, 8, 8])
    """
    if validate_kind(denoiser.kind) in SEES_CLEAN:
        raise ParameterError(
            f"denoisers of kind '{denoiser.kind}' need the clean image, which samples do not have; accepted: "
            "denoisers of the kinds trained, classical and optimal"
        )
    network = denoiser.network if isinstance(denoiser, Trained) else None
    if isinstance(denoiser, Reference):
        denoiser.move(torch.device(device))
        network = denoiser.as_network(shape)
    if network is not None:
        return wrap_network(network, device)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        images = noisy.cpu()
        truth = visible_truth(denoiser.kind, Truth(images, dataset))
        return denoise_by_level(denoiser, images, sigma.cpu(), truth).float().to(noisy.device)

    return denoise


def images_device(denoiser: Denoiser, shape: Shape, device: torch.device) -> torch.device:
    """Return the device on which to draw samples from a denoiser.

    Networks take images on their device. Other denoisers take images on the CPU, so samples on a GPU would have to be
    copied at every step.

    Parameters
    ----------
    denoiser
        A trained network, or a fitted reference.
    shape
        Shape (C, H, W) of the images.
    device
        Device on which the denoiser computes.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> images_device(gahbench.create("reference", "low-pass"), (1, 8, 8), torch.device("cpu"))
    device(type='cpu')
    """
    is_network = isinstance(denoiser, Trained) or (
        isinstance(denoiser, Reference) and denoiser.as_network(shape) is not None
    )
    return device if is_network else torch.device("cpu")


def residuals(denoise: Denoise, noisy: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the residuals f(y) - y, shape (N, C, H, W), and the root mean square of each, shape (N,), float64."""
    denoised = denoise(noisy, sigma)
    if denoised.shape != noisy.shape:
        # Broadcasting would hide the wrong shape.
        raise ValueError(f"the denoiser returned shape {tuple(denoised.shape)} for images of {tuple(noisy.shape)}")
    residual = denoised - noisy
    return residual, residual.flatten(1).square().mean(1).double().sqrt()
