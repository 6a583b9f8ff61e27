"""Adapters that turn denoisers into functions of images and a noise level for each image, for samplers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError
from gahbench._util.resources import keep_freed_blocks
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import SEES_CLEAN, Denoiser, Truth, denoise_by_level, validate_kind, visible_truth
from gahbench.networks.trained import Trained, channels_last

#: A function that returns the denoised images, given noisy images (N, C, H, W) and noise levels (N,) on one device.
Denoise = Callable[[Tensor, Tensor], Tensor]


def wrap_network(network: nn.Module, device: torch.device | str = "cpu") -> Denoise:
    """Return a denoising function of a network, which is moved to a device and put into evaluation mode.

    Kernels are converted to channels-last layout. On a CPU, the C library is set to keep freed memory for the next
    layer.

    Parameters
    ----------
    network
        A module whose ``forward(noisy, sigma)`` returns the denoised images; a blind network ignores sigma.
    device
        Device on which the network computes.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> denoise = wrap_network(gahbench.create("architecture", "dncnn", width=4, layers=3))
    >>> denoise(torch.rand(2, 1, 8, 8), torch.tensor([0.1, 0.2])).shape
    torch.Size([2, 1, 8, 8])
    """
    network = channels_last(network, device).eval()
    if torch.device(device).type == "cpu":
        keep_freed_blocks()

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        denoised: Tensor = network(noisy, sigma)
        return denoised.float()

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
