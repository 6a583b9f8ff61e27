"""Architectures with trained weights from a file."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gahbench import (
    ArchitectureFactory,
    Dataset,
    File,
    Names,
    ParameterError,
    Shape,
    Truth,
    file_digest,
    get_spec,
)
from gahbench.networks import Trained

from ._checkpoints.fitting import Fit, Keys, Output, assumptions, describe_keys, fit_weights
from ._checkpoints.near_fits import near_fit
from ._checkpoints.reading import read_part
from ._network import Clipped, NetworkReference

Number = Annotated[int, Field(ge=1)]
#: Stands for the number of training images in the paths of weights.
PLACEHOLDER = "{N}"


class Pretrained(NetworkReference):
    """An architecture with trained weights from a file, which is not trained further.

    The short form in a suite is an architecture with a ``checkpoint``: ``dncnn[layers=20,checkpoint=weights.pt]`` means
    ``pretrained[dncnn[layers=20],checkpoint=weights.pt]``. The file is in safetensors format (such as the
    ``weights.safetensors`` of a fit) or in torch format, of which only tensors, plain containers and
    ``argparse.Namespace`` are unpickled. State dicts are found under the usual keys (``state_dict``, ``model``,
    ``params_ema``, ...), and the prefixes ``module.``, ``_orig_mod.`` and ``model.`` are removed. If a file contains
    several state dicts, a note names the one that is used.

    With ``train_images``, the entrant has a row for each number of training images, and is compared with these images,
    as a network that gahbench trained: they are the first images of a half of the dataset's training images. With a
    ``partner``, it is compared with the network of the other half too. Nothing in a file tells which images a network
    learned from: the dataset must be divided as in training (``split: published`` of ``faces``).

    Parameters
    ----------
    architecture
        The network, with its parameters in training.
    checkpoint
        Path of the file. Results depend on its content, not on the path. In the path, ``{N}`` stands for each number of
        ``train_images``.
    keys
        Naming scheme of the weights. ``same``: the scheme of the architecture. ``auto``: ``same`` if the keys are
        exactly the keys of the architecture, and otherwise detected from the keys. ``kadkhodaie-unet`` and
        ``kadkhodaie-cnn``: UNet, and BF_CNN or BF_CNN_RF, of Kadkhodaie et al. 2024 (``unet``, ``bf-cnn-rf`` here). The
        UNet is read as trained with ``pool_window`` 2, the default of the published code: weights of another window
        have the same names and shapes, and give other images. ``kadkhodaie-cnn-2021``: BF_CNN of Kadkhodaie &
        Simoncelli 2021 (``bf-cnn[layers=20]``). ``mohan-dncnn``: DnCNN of Mohan et al. 2020 (``dncnn[bias=false]`` if
        it is bias-free; their other networks are ``mohan-unet``, ``mohan-rcnn`` and ``mohan-densenet``). ``kair``:
        DnCNN and IRCNN of Zhang et al. 2017, and FDnCNN and FFDNet of Zhang, Zuo & Zhang 2018, of their repository
        KAIR (``dncnn``, ``ircnn``, ``ffdnet``; their DRUNet is ``drunet``).
    output
        Output of the architecture's ``forward`` with these weights: the denoised ``image``, or the noise
        (``residual``), which is then subtracted. ``auto``: ``residual`` for FDnCNN and FFDNet of KAIR, whose layers
        estimate the image that ``dncnn`` and ``ffdnet`` subtract, and otherwise ``image``.
    scale
        The grey value of white, 1 or 255, in training: noisy images and sigma are multiplied by it, and the output is
        divided by it.
    clip
        Whether the output is clipped to [0, 1], as for many published results; clipping matters where a network fails.
    part
        Key path of the state dict in a file that contains several, as in ``ema.model``; ``.`` for tensors at the top
        level. The default is the state dict of averaged weights if the file has one, and otherwise the first state
        dict.
    train_images
        Number of training images, or a list of numbers.
    half
        The half of the dataset's training images, ``A`` or ``B``, or ``train`` for all; its first images are those that
        the network learned from.
    partner
        Path of the weights that were trained on as many images of the other half; ``{N}`` as for ``checkpoint``.
    dataset
        Spec of the dataset that the network learned from, in which ``*`` stands for any text, such as ``c-alpha[*``.
        The entrant has no row on other datasets.

    Raises
    ------
    ValueError
        If ``partner``, ``half`` or ``{N}`` is given without the parameter that it needs, or a number is repeated.
    """

    display_name = "pretrained {architecture}"
    depends_on_shape = True

    def __init__(
        self,
        architecture: Annotated[ArchitectureFactory, Names("architecture")],
        checkpoint: Annotated[str, File(numbers="train_images")],
        keys: Keys = "auto",
        output: Literal["auto", "image", "residual"] = "auto",
        scale: Literal[1, 255] = 1,
        clip: bool = False,
        part: str | None = None,
        train_images: Number | tuple[Number, ...] | None = None,
        half: Literal["train", "A", "B"] = "A",
        partner: Annotated[str | None, File(numbers="train_images")] = None,
        dataset: str | None = None,
    ) -> None:
        super().__init__()
        numbers = () if train_images is None else (train_images,) if isinstance(train_images, int) else train_images
        _check_numbers(numbers, train_images is not None, half, checkpoint, partner)
        self.architecture = architecture
        self.checkpoint = checkpoint
        self.partner = partner
        self.published_images = numbers
        self.published_half = half
        self.published_partner = None if partner is None else "A" if half == "B" else "B"
        self.dataset = dataset
        self._selected = numbers[0] if len(numbers) == 1 else None
        self._is_partner = False
        self.keys: Keys = keys
        self.output = output
        self.scale = scale
        self.clip = clip
        self.part = part
        self._fit: Fit | None = None
        self._output_is_noise = False
        self._part_note = ""

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the network learned from the dataset, as far as it is known."""
        if self.dataset is None:
            return True
        # Brackets are part of specs.
        return fnmatchcase(get_spec(dataset) or "", self.dataset.replace("[", "[[]"))

    def select_weights(self, split: Literal["train", "A", "B"], count: int) -> None:
        """Use the weights of ``count`` images of a half from now on."""
        self._selected, self._is_partner, self._loaded = count, split != self.published_half, None

    @property
    def _file(self) -> Path:
        return self._path(self._selected, self._is_partner)

    def _path(self, number: int | None, is_partner: bool = False) -> Path:
        path = self.partner if is_partner else self.checkpoint
        assert path is not None
        if PLACEHOLDER in path and self.published_images:
            if number is None:
                raise ParameterError(
                    f"checkpoint={path}: stands for the weights of {len(self.published_images)} numbers of images; "
                    "accepted outside a suite: a single number, such as train_images=" + str(self.published_images[0])
                )
            path = path.replace(PLACEHOLDER, str(number))
        return Path(path).expanduser()

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the weights do not fit, or ``ValueError`` if the network refuses the shape."""
        try:
            with torch.device("meta"):
                network: nn.Module = self.architecture.build(shape).eval()
        except (ParameterError, ValueError):
            raise
        except Exception:
            network = self.architecture.build(shape).eval()
        for number in self.published_images or (None,):
            for is_partner in (False, True)[: 2 if self.partner else 1]:
                self._fit_checkpoint(network, shape, self._path(number, is_partner))
        try:
            with torch.device("meta"), torch.no_grad():
                network.to("meta")(torch.empty(1, *shape), torch.empty(1))
        except ValueError:
            raise
        except Exception:
            # Some operations do not support the meta device; a real error is raised again by the run.
            return

    def load(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W) in [0, 1]."""
        network: nn.Module = self.architecture.build(shape)
        fit = self._fit_checkpoint(network, shape, self._file)
        network.load_state_dict(fit.state)
        # Drop the state dict, since the network contains the weights.
        self._fit = fit._replace(state={})
        adapted = _Adapted(Trained(network, self.device).network, self.scale, self._output(fit))
        return Clipped(adapted).eval() if self.clip else adapted

    @property
    def notes(self) -> tuple[str, ...]:
        """The file, its SHA-256 prefix, and how its keys were read."""
        fit = self._fit
        if self._loaded is None or fit is None:
            return ()
        file = self._file
        # Files of several numbers of images differ in the folder or the name.
        name = f"{file.parent.name}/{file.name}" if self.published_images else file.name
        keys = "" if fit.keys == "same" else f", its keys read as {fit.keys}{describe_keys(fit.keys)}"
        notes = (
            *assumptions(fit.keys),
            f"weights from {name} (SHA-256 {file_digest(str(file))[:8]}){self._part_note}{keys}",
        )
        if not self._output_is_noise:
            return notes
        other = "residual" if self._output(fit) == "image" else "image"
        return (f"returns what looks like the noise, not the image: output={other} may be meant", *notes)

    def denoise(self, noisy: Tensor, sigma: float, truth: Truth) -> Tensor:
        """Return the denoised images, shape (N, C, H, W)."""
        denoised = super().denoise(noisy, sigma, truth)
        self._output_is_noise |= sigma > 0 and _is_noise(denoised, noisy, sigma)
        return denoised

    def _output(self, fit: Fit) -> Output:
        return fit.output if self.output == "auto" else self.output

    def _fit_checkpoint(self, network: nn.Module, shape: Shape, file: Path) -> Fit:
        where = f"checkpoint {file.name} for {self.architecture.label}"
        try:
            state, name, others = read_part(file, self.part)
        except ParameterError as error:
            raise ParameterError(f"{where}: {error}") from error
        if others:
            alternatives = ", ".join(f"part={other}" for other in others)
            self._part_note = f", part '{name}' (other parts of the file: {alternatives})"
        try:
            return fit_weights(state, network, self.keys)
        except ParameterError as error:
            suggestion = near_fit(state, self.architecture, shape, lambda other: fit_weights(state, other, self.keys))
            advice = f"; it fits {suggestion}" if suggestion else ""
            raise ParameterError(f"{where}: {error}{advice}") from error


def _check_numbers(
    numbers: tuple[int, ...], has_numbers: bool, half: str, checkpoint: str, partner: str | None
) -> None:
    """Raise ``ValueError`` for parameters that lack the parameter that they need."""
    paths = {"checkpoint": checkpoint, **({} if partner is None else {"partner": partner})}
    if not has_numbers:
        given = [*(["partner"] if partner is not None else []), *([f"half={half}"] if half != "A" else [])]
        given += [f"{name} with {PLACEHOLDER}" for name, path in paths.items() if PLACEHOLDER in path]
        if given:
            raise ValueError(f"{given[0]} needs 'train_images', the number of training images of these weights")
        return
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"train_images={list(numbers)}; accepted: one or more different numbers")
    if partner is not None and half == "train":
        raise ValueError("partner needs half=A or half=B, since the partner learned from the other half")
    if same := [name for name, path in paths.items() if len(numbers) > 1 and PLACEHOLDER not in path]:
        raise ValueError(
            f"{same[0]}={paths[same[0]]}: one file for {len(numbers)} numbers of training images; accepted: a path "
            f"that contains {PLACEHOLDER}"
        )
    if partner is not None and partner == checkpoint:
        raise ValueError(
            "partner and checkpoint are the same file; accepted: weights that were trained on other images"
        )


def _is_noise(output: Tensor, noisy: Tensor, sigma: float) -> bool:
    """Return whether outputs look like noise: with a mean near 0 and a standard deviation near sigma."""
    strength = float(output.flatten(1).std(dim=1).median()) / sigma
    return abs(float(output.mean())) < 0.2 * abs(float(noisy.mean())) and 0.5 < strength < 1.5


class _Adapted(nn.Module):
    """A network in evaluation mode, adapted from its grey scale and output to images in [0, 1]."""

    def __init__(self, network: nn.Module, scale: int, output: Output) -> None:
        super().__init__()
        self.network, self.scale, self.output = network, scale, output
        self.eval()

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        output: Tensor = self.network(noisy * self.scale, sigma * self.scale) / self.scale
        return noisy - output if self.output == "residual" else output
