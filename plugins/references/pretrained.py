"""A published denoiser: an architecture with trained weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from gahbench import ArchitectureFactory, File, Names, ParameterError, Shape, Truth, file_digest
from gahbench.networks import Trained

from ._checkpoints.fitting import Fit, Keys, Output, fitted, why
from ._checkpoints.near_fits import near_fit
from ._checkpoints.reading import read_part
from ._network import Clipped, NetworkReference


class Pretrained(NetworkReference):
    """An architecture with trained weights from a file; it is scored as it is, and never trained.

    A suite's short form is the architecture with a ``checkpoint``: ``dncnn[layers=20,checkpoint=weights.pt]`` is
    ``pretrained[dncnn[layers=20],checkpoint=weights.pt]``. The file may be safetensors (such as the
    ``weights.safetensors`` of a fit), or a torch file, of which only tensors, plain containers and
    ``argparse.Namespace`` are unpickled. State dicts are looked for under the usual keys (``state_dict``, ``model``,
    ``params_ema``, ...), and the prefixes ``module.``, ``_orig_mod.`` and ``model.`` are dropped. A note says which
    state dict was taken from a file that has several.

    Parameters
    ----------
    architecture
        The network, with the parameters that it was trained with.
    checkpoint
        The file. Its content decides, not its path.
    keys
        How its keys and layers are to be read. ``same``: as the architecture's own. ``auto``: the same, where all keys
        are its own, otherwise found from the keys. ``kadkhodaie-unet`` and ``kadkhodaie-cnn``: UNet, and BF_CNN or
        BF_CNN_RF, of Kadkhodaie et al. 2024 (``unet``, ``bf-cnn-rf`` here). ``kadkhodaie-cnn-2021``: BF_CNN of
        Kadkhodaie & Simoncelli 2021 (``bf-cnn[layers=20]``). ``mohan-dncnn``: DnCNN of Mohan et al. 2020
        (``dncnn[bias=false]`` if it is bias-free; their other networks are ``mohan-unet``, ``mohan-rcnn`` and
        ``mohan-densenet``). ``kair``: DnCNN and IRCNN of Zhang et al. 2017, and FDnCNN and FFDNet of Zhang, Zuo & Zhang
        2018, of their repository KAIR (``dncnn``, ``ircnn``, ``ffdnet``; their DRUNet is ``drunet``).
    output
        The output of the architecture's ``forward`` with these weights: the denoised ``image``, or the noise, the
        ``residual``, which is then subtracted. ``auto`` takes what the key map says: the residual for FDnCNN and FFDNet
        of KAIR, whose layers were trained to estimate the image that ``dncnn`` and ``ffdnet`` subtract; otherwise the
        image.
    scale
        The value of white for which it was trained: noisy images and sigma are multiplied by it, and the output is
        divided by it.
    clip
        Whether the output is clipped to [0, 1], as it was for many published figures: it matters where a network
        collapses.
    part
        The state dict in a file that has several: the keys on the way to it, as in ``ema.model``; ``.`` for the tensors
        beside the others. By default it is that of averaged weights if there are any, and otherwise the first.
    """

    has_shape = True

    def __init__(
        self,
        architecture: Annotated[ArchitectureFactory, Names("architecture")],
        checkpoint: Annotated[str, File()],
        keys: Keys = "auto",
        output: Literal["auto", "image", "residual"] = "auto",
        scale: Literal[1, 255] = 1,
        clip: bool = False,
        part: str | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.checkpoint = Path(checkpoint).expanduser()
        self.keys: Keys = keys
        self.output = output
        self.scale = scale
        self.clip = clip
        self.part = part
        self._fit: Fit | None = None
        self._returns_noise = False
        self._taken = ""

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the weights do not fit, or ``ValueError`` if the network refuses the size."""
        try:
            with torch.device("meta"):
                network: nn.Module = self.architecture.build(shape).eval()
        except (ParameterError, ValueError):
            raise
        except Exception:
            network = self.architecture.build(shape).eval()
        self._fitted(network, shape)
        try:
            with torch.device("meta"), torch.no_grad():
                network.to("meta")(torch.empty(1, *shape), torch.empty(1))
        except ValueError:
            raise
        except Exception:
            # Not every operation supports the meta device; the unit itself reports an error, if there is one.
            return

    def load(self, shape: Shape) -> nn.Module:
        """Return the network for images (C, H, W), in our units."""
        network: nn.Module = self.architecture.build(shape)
        fit = self._fitted(network, shape)
        network.load_state_dict(fit.state)
        # The network holds the weights.
        self._fit = fit._replace(state={})
        ours = _Called(Trained(network, self.device).network, self.scale, self._output(fit))
        return Clipped(ours).eval() if self.clip else ours

    @property
    def notes(self) -> tuple[str, ...]:
        """The file, the beginning of its SHA-256, and how its keys were read."""
        fit = self._fit
        if self._loaded is None or fit is None:
            return ()
        digest = file_digest(str(self.checkpoint))
        keys = "" if fit.keys == "same" else f", its keys read as {fit.keys}{why(fit.keys)}"
        notes = (f"weights from {self.checkpoint.name} (SHA-256 {digest[:8]}){self._taken}{keys}",)
        if not self._returns_noise:
            return notes
        other = "residual" if self._output(fit) == "image" else "image"
        return (f"returns what looks like the noise, not the image: output={other} may be meant", *notes)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        found = super().denoise(noisy, sigma, truth)
        self._returns_noise |= sigma > 0 and _is_noise(found, noisy, sigma)
        return found

    def _output(self, fit: Fit) -> Output:
        return fit.output if self.output == "auto" else self.output

    def _fitted(self, network: nn.Module, shape: Shape) -> Fit:
        where = f"checkpoint {self.checkpoint.name} for {self.architecture.label}"
        try:
            state, name, others = read_part(self.checkpoint, self.part)
        except ParameterError as error:
            raise ParameterError(f"{where}: {error}") from error
        if others:
            self._taken = f", its '{name}' (other weights in it: {', '.join(f'part={other}' for other in others)})"
        try:
            return fitted(state, network, self.keys)
        except ParameterError as error:
            found = near_fit(state, self.architecture, shape, lambda other: fitted(state, other, self.keys))
            advice = f"; it fits {found}" if found else ""
            raise ParameterError(f"{where}: {error}{advice}") from error


def _is_noise(found: Tensor, noisy: Tensor, sigma: float) -> bool:
    """Whether images look like noise of a level: without the mean of the noisy ones, and as strong as the noise."""
    strength = float(found.flatten(1).std(dim=1).median()) / sigma
    return abs(float(found.mean())) < 0.2 * abs(float(noisy.mean())) and 0.5 < strength < 1.5


class _Called(nn.Module):
    """A network of other units and output as one of ours, in evaluation; a copy of it calls the copy of the network."""

    def __init__(self, network: nn.Module, scale: int, output: Output) -> None:
        super().__init__()
        self.network, self.scale, self.output = network, scale, output
        self.eval()

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        found: Tensor = self.network(noisy * self.scale, sigma * self.scale) / self.scale
        return noisy - found if self.output == "residual" else found
