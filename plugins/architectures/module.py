"""Any importable network or TorchScript archive."""

from __future__ import annotations

import importlib
import inspect
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from gahbench._util.errors import suggestion

from ._arguments import as_mapping, as_text
from ._inputs import append_noise_level, pad_to_multiple

#: File name extensions of TorchScript archives.
ARCHIVES = (".pt", ".pth", ".ts")
#: Names by which an optional second argument of ``forward`` is recognised as the noise level.
LEVEL_NAMES = ("sigma", "sigmas", "std", "noise_level", "noise_std")
#: Parameters of a factory that are set from the images of the dataset.
FILLED_IN = ("channels", "shape")
#: Largest number of names in an error message.
MAX_LISTED = 10


class Module(nn.Module):
    """Any importable network: a class or function ``package.mod:name`` that builds it, or a TorchScript archive.

    An example is ``module[my_package.nets:Net,arguments='{width: 32}']``. The factory is called with the ``arguments``,
    and with ``channels`` and ``shape`` of the images if it has parameters of these names. The code of an archive is
    executed, but nothing in it is unpickled. Receptive field, homogeneity and accepted image sizes depend on the
    network.

    Keys of units depend on the name and the arguments, and through :meth:`fingerprint` on the source code.

    Parameters
    ----------
    channels
        Number of image channels.
    shape
        Shape (C, H, W) of the images.
    factory
        ``package.mod:name`` of a class or function, importable by Python (installed, or on PYTHONPATH), or the path of
        a TorchScript archive (.pt, .pth, .ts).
    arguments
        Keyword arguments of the factory: a mapping of plain values, or its YAML text.
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
        arguments: Annotated[str, BeforeValidator(as_text)] = "{}",
        output: Literal["image", "residual"] = "image",
        scale: Literal[1, 255] = 1,
        sigma: Literal["auto", "argument", "channel", "none"] = "auto",
        multiple: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__()
        self.factory, self.output, self.scale, self.multiple = factory, output, scale, multiple
        given = as_mapping(arguments)
        if factory.endswith(ARCHIVES):
            if given:
                raise ValueError(f"factory={factory}: an archive takes no arguments, not {arguments}")
            self.network: Any = _load_archive(Path(factory))
        else:
            self.network = _call(factory, _find(factory), given, {"channels": channels, "shape": shape})
        self.sigma = ("argument" if _takes_level(self.network) else "none") if sigma == "auto" else sigma

    @staticmethod
    def fingerprint(factory: str, **others: Any) -> str:
        """Return the SHA-256 of the archive, or of the source code including imports from its own package."""
        from gahbench import behaviour_digest, file_digest

        return (
            file_digest(str(_check_exists(Path(factory))))
            if factory.endswith(ARCHIVES)
            else behaviour_digest(_find(factory))
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images, level = pad_to_multiple(noisy * self.scale, self.multiple), sigma * self.scale
        if self.sigma == "argument":
            output = self.network(images, level)
        else:
            output = self.network(append_noise_level(images, level) if self.sigma == "channel" else images)
        if not isinstance(output, Tensor) or output.shape != images.shape:
            description = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise ValueError(
                f"module '{self.factory}' returned {description} for images of shape {tuple(images.shape)}; "
                "accepted: a tensor of the same shape"
            )
        height, width = noisy.shape[-2:]
        output = output[..., :height, :width] / self.scale
        return noisy - output if self.output == "residual" else output


def _check_exists(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"factory={path}: no such file")
    return path


def _load_archive(path: Path) -> Any:
    _check_exists(path)
    try:
        with warnings.catch_warnings():
            # Newer versions of torch deprecate TorchScript, but still read archives.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"factory={path}: not a TorchScript archive, as torch.jit.save writes it: {reason}; for a file of weights "
            "use the checkpoint of an architecture"
        ) from error


def _find(factory: str) -> Any:
    """Import the object named ``package.mod:name``."""
    module_name, colon, name = factory.partition(":")
    if not (module_name and colon and name):
        raise ValueError(
            f"factory={factory}; accepted: 'package.mod:name', or a TorchScript archive ({', '.join(ARCHIVES)})"
        )
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"factory={factory}: importing '{module_name}' failed: {type(error).__name__}: {error}; "
            "it must be installed, or its folder on PYTHONPATH"
        ) from error
    for part in name.split("."):
        if not hasattr(target, part):
            names = [other for other, value in vars(target).items() if callable(value) and not other.startswith("_")]
            raise ValueError(
                f"factory={factory}: '{module_name}' has no '{name}'{suggestion(part, names) or ';'} "
                f"it has {', '.join(names[:MAX_LISTED]) or 'none'}"
            )
        target = getattr(target, part)
    return target


def _call(factory: str, target: Any, arguments: dict[str, Any], dataset_arguments: dict[str, Any]) -> nn.Module:
    """Build the network with the arguments of the user and the arguments that are set from the dataset."""
    if isinstance(target, nn.Module) or not callable(target):
        kind = "a network already built" if isinstance(target, nn.Module) else f"a {type(target).__name__}"
        raise ValueError(f"factory={factory}: this is {kind}; accepted: a class or a function that builds a network")
    try:
        signature = inspect.signature(target)
    except ValueError as error:
        raise ValueError(f"factory={factory}: {error}; accepted: a Python class or function") from error
    from_dataset = {
        name: dataset_arguments[name]
        for name in FILLED_IN
        if name in signature.parameters and dataset_arguments[name] is not None
    }
    try:
        signature.bind(**{**from_dataset, **arguments})
    except TypeError as error:
        raise ValueError(f"factory={factory}: {error}; accepted: {signature}") from error
    network = target(**{**from_dataset, **arguments})
    if not isinstance(network, nn.Module):
        raise ValueError(f"factory={factory}: returned a {type(network).__name__}, not a torch.nn.Module")
    return network


def _takes_level(network: Any) -> bool:
    """Return whether ``forward`` requires a second argument, or has a second argument named like the noise level."""
    if isinstance(network, torch.jit.ScriptModule):
        scripted: Any = network.forward
        second = scripted.schema.arguments[2:3]
        return any(not item.has_default_value() or item.name in LEVEL_NAMES for item in second)
    positional = [item for item in inspect.signature(network.forward).parameters.values() if item.kind in _POSITIONAL]
    return any(item.default is item.empty or item.name in LEVEL_NAMES for item in positional[1:2])


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
