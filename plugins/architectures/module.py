"""Any importable network, or TorchScript archive."""

from __future__ import annotations

import importlib
import inspect
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from gahbench import Code
from gahbench._util.errors import suggestion

from ._arguments import as_mapping, as_text
from ._inputs import padded, with_noise_level

#: Endings of TorchScript archives.
ARCHIVES = (".pt", ".pth", ".ts")
#: Names under which a second argument of ``forward`` is taken for the noise level.
LEVEL_NAMES = ("sigma", "sigmas", "std", "noise_level", "noise_std")
#: Parameters of a factory that the dataset fills in.
FILLED_IN = ("channels", "shape")
#: The number of other names that an error lists.
SHOWN = 10


class Module(nn.Module):
    """Any importable network: a class or a function ``package.mod:name`` that returns one, or a TorchScript archive.

    ``module[my_package.nets:Net,arguments='{width: 32}']``. A factory is called with the ``arguments``, and with
    ``channels`` and ``shape`` of the images where it has parameters of these names. An archive's code runs, but nothing
    in it is unpickled. Receptive field, homogeneity, and the sizes that are accepted are the network's own.

    Keys depend on the name and the arguments, and through :meth:`fingerprint` on the source.

    Parameters
    ----------
    channels
        Channels of the images.
    shape
        Shape (C, H, W) of the images.
    factory
        ``package.mod:name``, importable by Python (installed, or on PYTHONPATH), or the path of a TorchScript archive
        (.pt, .pth, .ts).
    arguments
        Keyword arguments of the factory: a mapping of plain values, or a text that says it.
    output
        Whether the network returns the ``image``, or the noise, the ``residual``, that is subtracted here.
    scale
        Largest value of the images that it takes: 1 or 255; sigma is scaled alike.
    sigma
        ``argument``: passed second, shape (N,); ``channel``: as a map, a further input channel; ``none``; ``auto``:
        passed if ``forward`` requires a second argument, or calls it sigma, noise_level or alike.
    multiple
        Sides of images are continued by their last pixels to multiples of this number, and the result is cropped: for
        networks that do not take all sizes.
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None,
        factory: Annotated[str, Code()],
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
            self.network: Any = _from_archive(Path(factory))
        else:
            self.network = _call(factory, _find(factory), given, {"channels": channels, "shape": shape})
        self.sigma = ("argument" if _takes_level(self.network) else "none") if sigma == "auto" else sigma

    @staticmethod
    def fingerprint(factory: str, **others: Any) -> str:
        """Return the SHA-256 of the foreign source, with what it imports from its own package, or of the archive."""
        from gahbench import behaviour_digest, file_digest

        return (
            file_digest(str(_existing(Path(factory))))
            if factory.endswith(ARCHIVES)
            else behaviour_digest(_find(factory))
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        images, level = padded(noisy * self.scale, self.multiple), sigma * self.scale
        if self.sigma == "argument":
            found = self.network(images, level)
        else:
            found = self.network(with_noise_level(images, level) if self.sigma == "channel" else images)
        if not isinstance(found, Tensor) or found.shape != images.shape:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(
                f"module '{self.factory}' returned {what} for images of shape {tuple(images.shape)}; "
                "one tensor of the same shape is accepted"
            )
        height, width = noisy.shape[-2:]
        found = found[..., :height, :width] / self.scale
        return noisy - found if self.output == "residual" else found


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"factory={path}: no such file")
    return path


def _from_archive(path: Path) -> Any:
    _existing(path)
    try:
        with warnings.catch_warnings():
            # Newer versions of torch discourage writing archives; those that exist can be read all the same.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"factory={path}: not a TorchScript archive, as torch.jit.save writes it: {reason}; weights alone are the "
            "checkpoint of an architecture"
        ) from error


def _find(factory: str) -> Any:
    """Import the object named ``package.mod:name``."""
    where, colon, name = factory.partition(":")
    if not (where and colon and name):
        raise ValueError(
            f"factory={factory}: 'package.mod:name' is accepted, or a TorchScript archive ({', '.join(ARCHIVES)})"
        )
    try:
        found: Any = importlib.import_module(where)
    except Exception as error:
        raise ValueError(
            f"factory={factory}: importing '{where}' failed: {type(error).__name__}: {error}; "
            "it must be installed, or its folder on PYTHONPATH"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            names = [other for other, value in vars(found).items() if callable(value) and not other.startswith("_")]
            raise ValueError(
                f"factory={factory}: '{where}' has no '{name}'{suggestion(part, names) or ';'} "
                f"it has {', '.join(names[:SHOWN]) or 'none'}"
            )
        found = getattr(found, part)
    return found


def _call(factory: str, target: Any, given: dict[str, Any], known: dict[str, Any]) -> nn.Module:
    """Call a factory with the given arguments and those that it requires."""
    if isinstance(target, nn.Module) or not callable(target):
        kind = "a network already built" if isinstance(target, nn.Module) else f"a {type(target).__name__}"
        raise ValueError(f"factory={factory}: this is {kind}; a class, or a function that builds anew, is accepted")
    try:
        signature = inspect.signature(target)
    except ValueError as error:
        raise ValueError(f"factory={factory}: {error}; a class or a function of Python is accepted") from error
    asked = {name: known[name] for name in FILLED_IN if name in signature.parameters and known[name] is not None}
    try:
        signature.bind(**{**asked, **given})
    except TypeError as error:
        raise ValueError(f"factory={factory}: {error}; accepted: {signature}") from error
    network = target(**{**asked, **given})
    if not isinstance(network, nn.Module):
        raise ValueError(f"factory={factory}: returned a {type(network).__name__}, not a torch.nn.Module")
    return network


def _takes_level(network: Any) -> bool:
    """Return whether ``forward`` requires a second argument, or names it as noise levels are named."""
    if isinstance(network, torch.jit.ScriptModule):
        scripted: Any = network.forward
        further = scripted.schema.arguments[2:3]
        return any(not item.has_default_value() or item.name in LEVEL_NAMES for item in further)
    places = [item for item in inspect.signature(network.forward).parameters.values() if item.kind in _POSITIONAL]
    return any(item.default is item.empty or item.name in LEVEL_NAMES for item in places[1:2])


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
