"""Architectures with trained weights from a file."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from gahbench import (
    ArchitectureFactory,
    Dataset,
    File,
    Names,
    ParameterError,
    Shape,
    as_denoiser,
    file_digest,
    get_spec,
)
from gahbench_plugins.references.network import Clipped, NetworkReference
from gahbench_plugins.references.published import Keys, Output, describe, load_weights
from gahbench_plugins.references.weights import read_state

Number = Annotated[int, Field(ge=1)]
#: Stands for the number of training images in the paths of weights.
PLACEHOLDER = "{N}"


class Pretrained(NetworkReference):
    """An architecture with trained weights from a file, which is not trained further.

    The short form in a suite is an architecture with a ``checkpoint``: ``dncnn[layers=20,checkpoint=weights.pt]`` means
    ``pretrained[dncnn[layers=20],checkpoint=weights.pt]``. The file is in safetensors format (such as the
    ``weights.safetensors`` of a fit) or in torch format, of which only tensors, plain containers and
    ``argparse.Namespace`` are unpickled. State dicts are found under the usual keys (``state_dict``, ``model``,
    ``params_ema``, ...). A prefix that all names share, such as ``model.net.``, is removed, and a note says so. From a
    file of several state dicts the averaged weights are used, or otherwise the first, which a note names.

    With ``train_images``, the entrant has a row for each number of training images, and is compared with these images,
    as a network that gahbench trained: they are the first images of a half of the dataset's training images. With a
    ``partner``, it is compared with the network of the other half too. Nothing in a file tells which images a network
    learned from: the dataset must be divided as in training, such as by ``published-halves``.

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
        it is bias-free; others are ``mohan-unet`` and ``mohan-rcnn``). ``kair``:
        DnCNN of Zhang et al. 2017, and FDnCNN and FFDNet of Zhang, Zuo & Zhang 2018, of their repository KAIR
        (``dncnn``, ``ffdnet``; their DRUNet is ``deepinv[DRUNet]``).
    output
        Output of the architecture's ``forward`` with these weights: the denoised ``image``, or the noise
        (``residual``), which is then subtracted. ``auto``: ``residual`` for FDnCNN and FFDNet of KAIR, whose layers
        estimate the image that ``dncnn`` and ``ffdnet`` subtract, and otherwise ``image``.
    scale
        The grey value of white, 1 or 255, in training: noisy images and sigma are multiplied by it, and the output is
        divided by it.
    clip
        Whether the output is clipped to [0, 1], as for many published results; clipping matters where a network fails.
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
        train_images: Number | tuple[Number, ...] | None = None,
        half: Literal["train", "A", "B"] = "A",
        partner: Annotated[str | None, File(numbers="train_images")] = None,
        dataset: str | None = None,
    ) -> None:
        super().__init__()
        numbers = () if train_images is None else (train_images,) if isinstance(train_images, int) else train_images
        paths = [("checkpoint", checkpoint), *([("partner", partner)] if partner else [])]
        _check(half == "A" or train_images is not None, "half", "'train_images', the numbers of images of the half")
        _check(not partner or train_images is not None, "partner", "'train_images', the numbers of its images")
        _check(not partner or half != "train", "partner", "half=A or half=B, since it learned from the other half")
        _check(partner != checkpoint, "partner", "another file than 'checkpoint'")
        _check(train_images is None or len(set(numbers)) == len(numbers) > 0, "train_images", "different numbers")
        for name, path in paths:
            several = f"{PLACEHOLDER} in its path, one file for each of the 'train_images'"
            _check((PLACEHOLDER in path) <= bool(numbers) and (len(numbers) < 2 or PLACEHOLDER in path), name, several)
        self.architecture = architecture
        self.checkpoint = checkpoint
        self.partner = partner
        self.published_images = numbers
        self.published_half = half
        self.published_partner = None if partner is None else "A" if half == "B" else "B"
        self.dataset = dataset
        self.keys: Keys = keys
        self.output = output
        self.scale = scale
        self.clip = clip
        self._selected = numbers[0] if len(numbers) == 1 else None
        self._is_partner = False
        self._notes: tuple[str, ...] = ()

    def supports(self, dataset: Dataset) -> bool:
        """Return whether the network learned from the dataset, as far as it is known."""
        # Brackets are part of specs.
        return self.dataset is None or fnmatchcase(get_spec(dataset) or "", self.dataset.replace("[", "[[]"))

    def select_weights(self, split: Literal["train", "A", "B"], count: int) -> None:
        """Use the weights of ``count`` images of a half from now on."""
        self._selected, self._is_partner, self._loaded = count, split != self.published_half, None

    def check_shape(self, shape: Shape) -> None:
        """Raise ``ParameterError`` if the weights do not fit, or ``ValueError`` if the network refuses the shape."""
        for number in self.published_images or (None,):
            for path in filter(None, (self.checkpoint, self.partner)):
                network, *_ = self._build(shape, self._file(path, number))
        try:
            with torch.device("meta"), torch.no_grad():
                network.to("meta")(torch.empty(1, *shape), torch.empty(1))
        except (RuntimeError, NotImplementedError):
            # Some operations do not support the meta device; a real error is raised again by the run.
            return

    def load(self, shape: Shape) -> nn.Module:
        """Return the network for images of shape (C, H, W) in [0, 1]."""
        if self.published_images and self._selected is None:
            raise ParameterError(
                f"checkpoint={self.checkpoint}: stands for the weights of {len(self.published_images)} numbers of "
                f"images; accepted outside a suite: a single number, such as train_images={self.published_images[0]}"
            )
        file = self._file(self.partner if self._is_partner and self.partner else self.checkpoint, self._selected)
        network, keys, output, name, prefix = self._build(shape, file)
        # Files of several numbers of images differ in the folder or the name.
        path = f"{file.parent.name}/{file.name}" if self.published_images else file.name
        scheme = "" if keys == "same" else f", its keys read as {describe(keys)}"
        scheme += prefix and f", without the prefix '{prefix}' of its keys"
        window = ("assumes that the network was trained with pool_window=2, which the file does not state",)
        part = f"'{name}' of " if name else ""
        note = f"weights from {part}{path} (SHA-256 {file_digest(str(file))[:8]}){scheme}"
        self._notes = (*(window if keys == "kadkhodaie-unet" else ()), note)
        adapted = as_denoiser(network, "level", (0, self.scale), output if self.output == "auto" else self.output)
        return Clipped(adapted) if self.clip else adapted

    @property
    def notes(self) -> tuple[str, ...]:
        """The file, its SHA-256 prefix, and how its keys were read."""
        return self._notes

    def _file(self, path: str, number: int | None) -> Path:
        return Path(path if number is None else path.replace(PLACEHOLDER, str(number))).expanduser()

    def _build(self, shape: Shape, file: Path) -> tuple[nn.Module, str, Output, str, str]:
        """Return the network with the weights of a file, and the scheme, output, state dict and prefix of its names."""
        network: nn.Module = self.architecture.build(shape)
        try:
            state, name = read_state(file)
            keys, output, prefix = load_weights(network, state, self.keys)
        except ParameterError as error:
            raise ParameterError(f"checkpoint {file.name} for {self.architecture.label}: {error}") from error
        return network.eval(), keys, output, name, prefix


def _check(is_accepted: bool, name: str, need: str) -> None:
    """Raise ``ValueError`` for a parameter that lacks what it needs."""
    if not is_accepted:
        raise ValueError(f"{name} needs {need}")
