"""Any importable network, and any denoiser of the package deepinv."""

from __future__ import annotations

import inspect
import math
import pkgutil
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gahbench_plugins.architectures.layers import append_noise_level, pad_to_multiple

#: Names by which an optional second argument of ``forward`` is recognised as the noise level.
LEVEL_NAMES = ("sigma", "sigmas", "std", "noise_level", "noise_std")
#: Names of constructor parameters of deepinv for the number of image channels.
CHANNELS = ("in_channels", "out_channels", "in_nc", "in_chans", "img_channels", "channels")
Multiple = Annotated[int, Field(ge=1)]
#: Plain values by name, as the arguments of a constructor.
Arguments = dict[str, Any] | None


class Module(nn.Module):
    """Any importable network, built by a class or function ``package.mod:name``.

    An example is ``module[my_package.nets:Net,arguments={width: 32}]``. The factory is called with the ``arguments``,
    and with ``channels`` and ``shape`` of the images if it has parameters of these names. Receptive field, homogeneity
    and accepted image sizes depend on the network.

    Keys of units depend on the name and the arguments, and through :meth:`fingerprint` on the source code.

    Parameters
    ----------
    channels
        Number of image channels.
    shape
        Shape (C, H, W) of the images.
    factory
        ``package.mod:name`` of a class or function, importable by Python (installed, or on PYTHONPATH).
    arguments
        Keyword arguments of the factory: a mapping of plain values.
    output
        Output of the network: the denoised ``image``, or the noise (``residual``), which is then subtracted.
    scale
        The grey value of white for the network, 1 or 255; images and sigma are multiplied by it.
    sigma
        How the network gets the noise level: ``argument``, as second argument of shape (N,); ``channel``, as a map in
        an additional input channel; ``none``, not at all; ``auto``, as argument if ``forward`` requires a second
        argument, or has an optional second argument with a name such as sigma or noise_level.
    multiple
        Image sides are padded to multiples of this number by repeating border pixels, and the result is cropped.
    """

    display_name = "network {factory}"

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None,
        factory: str,
        arguments: Arguments = None,
        output: Literal["image", "residual"] = "image",
        scale: Literal[1, 255] = 1,
        sigma: Literal["auto", "argument", "channel", "none"] = "auto",
        multiple: Multiple = 1,
    ) -> None:
        super().__init__()
        self.factory, self.output, self.scale, self.multiple = factory, output, scale, multiple
        self.network = _build(f"factory={factory}", _find(factory), {"channels": channels, "shape": shape}, arguments)
        self.sigma = ("argument" if _takes_level(self.network) else "none") if sigma == "auto" else sigma

    @staticmethod
    def fingerprint(factory: str, **others: Any) -> str:
        """Return the SHA-256 of the source code, including imports from its own package."""
        from gahbench import behaviour_digest

        return behaviour_digest(_find(factory))

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images, level = pad_to_multiple(noisy * self.scale, self.multiple), sigma * self.scale
        if self.sigma == "argument":
            output = self.network(images, level)
        else:
            output = self.network(append_noise_level(images, level) if self.sigma == "channel" else images)
        if not isinstance(output, Tensor) or output.shape != images.shape:
            found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise ValueError(f"module '{self.factory}' returned {found}; accepted: shape {tuple(images.shape)}")
        output = output[..., : noisy.shape[-2], : noisy.shape[-1]] / self.scale
        return noisy - output if self.output == "residual" else output


class Deepinv(nn.Module):
    """Any trainable denoiser of the package deepinv (Tachella et al., JOSS 2025); needs the extra ``deepinv``.

    Examples are ``deepinv[DRUNet,multiple=32]`` and ``deepinv[DnCNN,arguments={depth: 17, bias: false}]``. The denoiser
    is called with images in [0, 1] and sigma in the same units, and returns the denoised image. The documentation of
    its class has the citation, the accepted image sizes, and whether it uses sigma. Weights are random, and nothing is
    downloaded; published weights are loaded from a file with the ``checkpoint`` of any architecture.

    Parameters
    ----------
    channels
        Number of image channels.
    shape
        Shape (C, H, W) of the images, for networks with a fixed image size.
    model
        Name of a denoiser in ``deepinv.models``, such as DRUNet, GSDRUNet, SwinIR, Restormer, SCUNet or NCSNpp. The
        error for an unknown name lists the names in the installed version.
    arguments
        Further constructor arguments: a mapping of plain values. The number of image channels is set automatically.
    multiple
        Image sides are padded to multiples of this number by repeating border pixels, and the result is cropped.
    """

    display_name = "{model} of deepinv"
    citation = "tachella-2025"

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None,
        model: str,
        arguments: Arguments = None,
        multiple: Multiple = 1,
    ) -> None:
        super().__init__()
        try:
            from deepinv import models
        except ImportError as error:
            raise ValueError(f"the package deepinv is missing: pip install 'gahbench[deepinv]' ({error})") from error
        classes = {name for name, item in vars(models).items() if inspect.isclass(item)}
        names = {name for name in classes if issubclass(getattr(models, name), models.Denoiser)} | {"GSDRUNet"}
        if model not in names:
            raise ValueError(f"model={model}: not a denoiser of deepinv; accepted: {', '.join(sorted(names))}")
        self.multiple = multiple
        given = {**dict.fromkeys(CHANNELS, channels), "pretrained": None, "device": None}
        given["dim_input"] = None if shape is None else math.prod(shape)
        build = getattr(models, model)
        device = torch.empty(0).device
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            # Some constructors read values of tensors, which the meta device does not have.
            with torch.device("cpu"):
                self.network = _build(f"model={model}", build, given, arguments).to(device)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images = pad_to_multiple(noisy, self.multiple)
        denoised: Tensor
        if hasattr(self.network, "student_grad"):
            # A gradient step of GSDRUNet; with torch.func it can be trained, and differentiated again.
            estimate, vjp, *_ = torch.func.vjp(lambda inputs: self.network.student_grad(inputs, sigma), images)
            denoised = estimate + vjp(images - estimate)[0]
        else:
            denoised = self.network(images, sigma)
        return denoised[..., : noisy.shape[-2], : noisy.shape[-1]]


def _find(factory: str) -> Any:
    """Import the object named ``package.mod:name``."""
    try:
        return pkgutil.resolve_name(factory)
    except Exception as error:
        raise ValueError(
            f"factory={factory}: {type(error).__name__}: {error}; accepted: 'package.mod:name' of a class or function "
            "whose package is installed, or whose folder is on PYTHONPATH"
        ) from error


def _build(where: str, factory: Callable[..., Any], filled_in: dict[str, Any], arguments: Arguments) -> Any:
    """Build a network with the arguments of the user, and with those of ``filled_in`` that the factory accepts."""
    accepted = "a class or function that builds a network"
    try:
        signature = inspect.signature(factory)
        accepted = str(signature)
        known = {name: value for name, value in filled_in.items() if name in signature.parameters}
        network = factory(**known | (arguments or {}))
    except Exception as error:
        raise ValueError(f"{where}: {type(error).__name__}: {error}; accepted: {accepted}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{where}: returned a {type(network).__name__}; accepted: a torch.nn.Module")
    return network


def _takes_level(network: nn.Module) -> bool:
    """Return whether ``forward`` requires a second argument, or has a second argument named like the noise level."""
    parameters = inspect.signature(network.forward).parameters.values()
    second = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)][1:2]
    return any(item.default is item.empty or item.name in LEVEL_NAMES for item in second)
