"""Models that were saved with their code: TorchScript archives, and programs of ``torch.export``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from gahbench import Code, File, ParameterError, Shape, as_denoiser, file_digest
from gahbench._util.readable import brief

from ._network import NetworkReference

#: Ends of the grey values of images, by name.
RANGES = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0), "bytes": (0.0, 255.0)}


class TorchScript(NetworkReference):
    """A denoiser in a TorchScript archive, of ``torch.jit.save``: scored as it is, with no code of its own needed.

    The archive brings code: use those alone that you trust.

    Parameters
    ----------
    checkpoint
        The file. Its content decides, not its path.
    sigma
        The second argument of the model: ``none``; ``level``, the noise level in its range, shape (N,); or ``map``,
        no argument but a further channel of the noise level.
    output
        The output of the model: the denoised ``image``; the ``residual``, noise in its range; ``eps``, noise of unit
        variance; or the ``score``.
    range
        The grey values of the model: ``unit``, [0, 1]; ``symmetric``, [-1, 1]; ``bytes``, [0, 255].
    """

    _what: ClassVar[str] = "a TorchScript archive"

    def __init__(
        self,
        checkpoint: Annotated[str, File(), Code()],
        sigma: Literal["none", "level", "map"] = "level",
        output: Literal["image", "residual", "eps", "score"] = "image",
        range: Literal["unit", "symmetric", "bytes"] = "unit",
    ) -> None:
        super().__init__()
        self.checkpoint = Path(checkpoint).expanduser()
        self.sigma: Literal["none", "level", "map"] = sigma
        self.output: Literal["image", "residual", "eps", "score"] = output
        self.range = range

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the file cannot be read, or what is in it does not take such images."""
        try:
            with torch.no_grad():
                network = self.as_network(shape)
                found = network(torch.zeros(1, *shape, device=self.device), torch.ones(1, device=self.device))
        except ParameterError:
            raise
        except Exception as error:
            text = str(error).strip().splitlines()
            reason = text[-1] if text else type(error).__name__
            given = {"none": "images alone", "level": "images and levels", "map": "images with a channel of the level"}
            raise ParameterError(
                f"{self.checkpoint.name} does not take {given[self.sigma]} of {'x'.join(map(str, shape))}: {reason}; "
                f"sigma={self.sigma} may be another: none, level, map"
            ) from error
        if found.shape[1:] != torch.Size(shape):
            raise ParameterError(f"{self.checkpoint.name} returns images of {tuple(found.shape[1:])}, not {shape}")

    def load(self, shape: Shape) -> nn.Module:
        """Return the model as a network for images in [0, 1]."""
        try:
            model = self._load()
        except Exception as error:
            raise ParameterError(
                f"{self.checkpoint.name}: not {self._what} that torch can read: {brief(error)}"
            ) from error
        return as_denoiser(model, self.sigma, RANGES[self.range], self.output)

    @property
    def notes(self) -> tuple[str, ...]:
        """The file, and the beginning of its SHA-256."""
        return (f"a model saved in {self.checkpoint.name} (SHA-256 {file_digest(str(self.checkpoint))[:8]})",)

    def _load(self) -> Callable[..., Any]:
        module: nn.Module = torch.jit.load(str(self.checkpoint), map_location=self.device)  # type: ignore[no-untyped-call]
        return module.eval()


class ExportedProgram(TorchScript):
    """A denoiser in a file of ``torch.export.save``: scored as it is, with no code of its own needed.

    It takes the shapes that it was exported for: export with a dynamic number of images. The file brings code: use
    those alone that you trust.

    Parameters
    ----------
    checkpoint
        The file. Its content decides, not its path.
    sigma
        The second argument of the program: ``none``; ``level``, the noise level in its range, shape (N,); or ``map``,
        no argument but a further channel of the noise level.
    output
        The output of the program: the denoised ``image``; the ``residual``, noise in its range; ``eps``, noise of unit
        variance; or the ``score``.
    range
        The grey values of the program: ``unit``, [0, 1]; ``symmetric``, [-1, 1]; ``bytes``, [0, 255].
    """

    _what: ClassVar[str] = "a program of torch.export"

    def _load(self) -> Callable[..., Any]:
        return _Program(torch.export.load(str(self.checkpoint)).module())


class _Program(nn.Module):
    """An exported program, which is as it was exported: it has no mode of training."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> Self:
        """Leave the program as it is."""
        return self

    def forward(self, *given: Tensor) -> Tensor:
        """Call the program."""
        found: Tensor = self.program(*given)
        return found
