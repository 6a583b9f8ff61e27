"""Models saved with their code: TorchScript archives, and programs of ``torch.export``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import nn

from gahbench import File, ParameterError, Shape, as_denoiser, file_digest
from gahbench_plugins.references.network import NetworkReference

#: Grey values of black and white for each name.
RANGES = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0), "bytes": (0.0, 255.0)}


class SavedModel(NetworkReference):
    """A denoiser in a file written by ``torch.jit.save`` or ``torch.export.save``, used without its Python code.

    A program of ``torch.export`` accepts only the shapes for which it was exported; export it with a dynamic number of
    images. The file contains code that is executed: use only files that you trust.

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

    display_name = "saved network, {checkpoint}"

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
        self.advice = f"; sigma={sigma} may be wrong; accepted: none, level, map"

    def load(self, shape: Shape) -> nn.Module:
        """Return the model as a denoiser of images in [0, 1]."""
        model: Any
        try:
            with zipfile.ZipFile(self.checkpoint) as archive:
                is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
            if is_script:
                model = torch.jit.load(str(self.checkpoint))
            else:
                model = torch.export.load(str(self.checkpoint)).module()
                # Exported programs cannot switch to evaluation mode.
                model.train = lambda mode=True: model
        except Exception as error:
            raise ParameterError(
                f"{self.checkpoint.name}: not a TorchScript archive or program of torch.export: {str(error)[:200]}"
            ) from error
        return as_denoiser(model, self.sigma, RANGES[self.range], self.output)

    @property
    def notes(self) -> tuple[str, ...]:
        """The file, and its SHA-256 prefix."""
        return (f"a model saved in {self.checkpoint.name} (SHA-256 {file_digest(str(self.checkpoint))[:8]})",)
