"""Models saved with their code: TorchScript archives, and programs of ``torch.export``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from gahbench import File, ParameterError, Shape, as_denoiser, file_digest
from gahbench._util.readable import brief

from ._network import NetworkReference

#: Grey values of black and white for each name.
RANGES = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0), "bytes": (0.0, 255.0)}


class TorchScript(NetworkReference):
    """A denoiser in a TorchScript archive written by ``torch.jit.save``, used without its Python code.

    The archive contains code that is executed: use only archives that you trust.

    Parameters
    ----------
    checkpoint
        Path of the file. Results depend on its content, not on the path.
    sigma
        How the model gets the noise level: ``none``, not at all; ``level``, as second argument of shape (N,), in units
        of its grey values; ``map``, as an additional image channel.
    output
        Output of the model: the denoised ``image``; the ``residual``, noise in units of its grey values; ``eps``,
        noise of unit variance; or the ``score``.
    range
        Grey values of the model: ``unit``, [0, 1]; ``symmetric``, [-1, 1]; ``bytes``, [0, 255].
    """

    display_name = "TorchScript network, {checkpoint}"
    _file_kind: ClassVar[str] = "a TorchScript archive"

    def __init__(
        self,
        checkpoint: Annotated[str, File()],
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
        """Raise ``ParameterError`` if the file cannot be read, or its model refuses images of shape (C, H, W)."""
        try:
            with torch.no_grad():
                network = self.as_network(shape)
                denoised = network(torch.zeros(1, *shape, device=self.device), torch.ones(1, device=self.device))
        except ParameterError:
            raise
        except Exception as error:
            text = str(error).strip().splitlines()
            reason = text[-1] if text else type(error).__name__
            inputs = {"none": "images alone", "level": "images and levels", "map": "images with a channel of levels"}
            raise ParameterError(
                f"{self.checkpoint.name} does not take {inputs[self.sigma]} of {'x'.join(map(str, shape))}: {reason}; "
                f"sigma={self.sigma} may be wrong; accepted: none, level, map"
            ) from error
        if denoised.shape[1:] != torch.Size(shape):
            raise ParameterError(f"{self.checkpoint.name} returns images of {tuple(denoised.shape[1:])}, not {shape}")

    def load(self, shape: Shape) -> nn.Module:
        """Return the model as a denoiser of images in [0, 1]."""
        try:
            model = self._load()
        except Exception as error:
            raise ParameterError(
                f"{self.checkpoint.name}: not {self._file_kind} that torch can read: {brief(error)}"
            ) from error
        return as_denoiser(model, self.sigma, RANGES[self.range], self.output)

    @property
    def notes(self) -> tuple[str, ...]:
        """The file, and its SHA-256 prefix."""
        return (f"a model saved in {self.checkpoint.name} (SHA-256 {file_digest(str(self.checkpoint))[:8]})",)

    def _load(self) -> Callable[..., Any]:
        module: nn.Module = torch.jit.load(str(self.checkpoint), map_location=self.device)  # type: ignore[no-untyped-call]
        return module.eval()


class ExportedProgram(TorchScript):
    """A denoiser in a file written by ``torch.export.save``, used without its Python code.

    The program accepts only the shapes for which it was exported; export it with a dynamic number of images. The file
    contains code that is executed: use only files that you trust.

    Parameters
    ----------
    checkpoint
        Path of the file. Results depend on its content, not on the path.
    sigma
        How the program gets the noise level: ``none``, not at all; ``level``, as second argument of shape (N,), in
        units of its grey values; ``map``, as an additional image channel.
    output
        Output of the program: the denoised ``image``; the ``residual``, noise in units of its grey values; ``eps``,
        noise of unit variance; or the ``score``.
    range
        Grey values of the program: ``unit``, [0, 1]; ``symmetric``, [-1, 1]; ``bytes``, [0, 255].
    """

    display_name = "exported network, {checkpoint}"
    _file_kind: ClassVar[str] = "a program of torch.export"

    def _load(self) -> Callable[..., Any]:
        return _Program(torch.export.load(str(self.checkpoint)).module())


class _Program(nn.Module):
    """An exported program, which has no training mode."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> Self:
        """Do nothing: exported programs cannot switch modes."""
        return self

    def forward(self, *arguments: Tensor) -> Tensor:
        """Call the program."""
        output: Tensor = self.program(*arguments)
        return output
