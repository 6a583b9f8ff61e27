"""A U-shaped network on any backbone of timm."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlparse

import torch
from huggingface_hub import constants, try_to_load_from_cache
from pydantic import Field
from timm.layers.format import Format
from timm.models import create_model, get_pretrained_cfg, is_model, list_models
from torch import Tensor, nn
from torch.nn import functional

from gahbench import External

from .._papers import RONNEBERGER_2015
from ._bias_free import convolution, residual_output
from ._inputs import need_shape, next_multiple, padded, with_noise_level

#: The stride of most backbones as a whole. Smaller images leave some of them nothing to look at; and those of one image
#: size cut features into windows, which fit whole when sides are multiples of it.
STRIDE = 32
#: Files of weights in a repository of the Hugging Face hub, unless a backbone names another.
FILES = ("model.safetensors", "pytorch_model.bin")


class TimmUNet(nn.Module):
    """U-shaped network whose encoder is any backbone of timm that gives its features, after Ronneberger et al. 2015.

    The backbone's features, finest first, usually at strides from 2 or 4 to 32, are brought to ``width`` channels and
    joined from the coarsest to the finest by nearest-neighbour upsampling, concatenation and two 3x3 convolutions with
    batch normalisation and ReLU. A convolution of the image itself joins last, so that no detail is lost. The layers
    estimate the noise, which ``forward`` subtracts. Backbones: Wightman, "PyTorch Image Models", 2019,
    doi:10.5281/zenodo.4414861; the paper of each is named in timm.

    With the defaults: 11.3 M parameters; a receptive field of several hundred pixels, set by the backbone, and global
    where it attends globally or pools over the whole image. Not homogeneous: backbones have biases. Images of any
    size are continued by their border pixels to a multiple of the coarsest stride, and to at least 32; a backbone of
    one image size (``swin``, ``maxvit``, ``vit``, ...) is built for that of the dataset and takes no other.

    Parameters
    ----------
    channels
        Channels of the images.
    shape
        Shape (C, H, W) of the images, for backbones of one image size.
    backbone
        Name of a model in timm, with the tag of its weights if need be, such as ``convnext_atto.d2_in1k``.
    pretrained
        Whether to start from timm's weights, which are downloaded if they are not in its cache. A tag in the name
        pins them. They need ``initialisation: own`` in training (as the recipe ``kl`` has it), or are drawn anew.
    levels
        How many levels of features to use, finest first; null for all. The rest of the backbone is left out.
    width
        Channels of the decoder.
    blind
        Whether the noise level is unknown; otherwise a map of it is a further input channel.
    """

    citation = RONNEBERGER_2015
    label_parameters = ("backbone",)
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None = None,
        backbone: str = "resnet18",
        pretrained: Annotated[bool, External()] = False,
        levels: Annotated[int, Field(ge=1)] | None = None,
        width: Annotated[int, Field(ge=1)] = 32,
        blind: bool = True,
    ) -> None:
        super().__init__()
        self.blind = blind
        config = _known(backbone)
        self.only: tuple[int, int, int] | None = None
        options: dict[str, Any] = {"in_chans": channels if blind else channels + 1}
        if config.fixed_input_size:
            if shape is None:
                raise ValueError(f"backbone '{backbone}' needs the shape of the images, for it takes one size alone")
            self.only = shape
            options["img_size"] = tuple(next_multiple(side, STRIDE) for side in shape[1:])
        self.encoder = _encoder(backbone, pretrained, levels, options)
        information = self.encoder.feature_info
        self.multiple = max([*information.reduction(), STRIDE if self.only else 1])
        self.last = getattr(self.encoder, "output_fmt", None) == Format.NHWC
        for name, values in (("mean", config.mean), ("deviation", config.std)):
            self.register_buffer(name, _per_channel(values, channels))

        self.lateral = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in information.channels())
        self.joins = nn.ModuleList(
            nn.Sequential(*convolution(2 * width, width, bias=True), *convolution(width, width, bias=True))
            for _ in information.channels()
        )
        self.stem = nn.Sequential(*convolution(channels if blind else channels + 1, width, bias=True))
        self.output = residual_output(width, channels, bias=True)

    @staticmethod
    def missing(backbone: str, pretrained: bool, **others: Any) -> tuple[str, ...]:
        """Return the weights that are to be downloaded, in words; nothing is downloaded."""
        if not pretrained:
            return ()
        where = _weights(_known(backbone))
        return () if where.here else (f"weights of {backbone}, from {where.address} into {where.place}",)

    @staticmethod
    def prepare(backbone: str, pretrained: bool, **others: Any) -> None:
        """Download the weights, if they are to be."""
        if pretrained and not _weights(_known(backbone)).here:
            _encoder(backbone, True, None, {})

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); ``sigma`` of shape (N,) is used only if not ``blind``."""
        if self.only is not None:
            need_shape(noisy, self.only, "timm-unet with this backbone")
        height, width = noisy.shape[-2:]
        inputs = padded((noisy - self.mean) / self.deviation, self.multiple, min_side=STRIDE)
        if not self.blind:
            inputs = with_noise_level(inputs, sigma)
        levels = self.encoder(inputs)
        if any(features.dim() != 4 for features in levels):
            raise ValueError("timm-unet needs a backbone whose features are maps, which those of this one are not")
        if self.last:
            levels = [features.permute(0, 3, 1, 2) for features in levels]
        skips = [self.stem(inputs), *(bring(found) for bring, found in zip(self.lateral, levels, strict=True))]
        features = skips.pop()
        for join in self.joins:
            finer = skips.pop()
            raised = functional.interpolate(features, size=finer.shape[-2:], mode="nearest")
            features = join(torch.cat([raised, finer], dim=1))
        residual: Tensor = self.output(features)
        return noisy - residual[..., :height, :width]


class Weights(NamedTuple):
    """Trained weights of a backbone."""

    address: str
    place: Path
    here: bool


def _weights(config: Any) -> Weights:
    """Return where the weights are of a backbone that timm describes so; nothing is downloaded."""
    if config.file:
        return Weights(str(config.file), Path(config.file), Path(config.file).is_file())
    if not config.hf_hub_id:
        place = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(config.url or "").path).name
        return Weights(str(config.url), place, place.is_file())
    repository, _, revision = config.hf_hub_id.partition("@")
    own = config.hf_hub_filename
    # timm prefers a safetensors file of the same name.
    names = (own, str(PurePosixPath(own).with_suffix(".safetensors")), "open_clip_model.safetensors") if own else FILES
    cache = Path(constants.HF_HUB_CACHE)
    found = (try_to_load_from_cache(repository, name, cache, revision or None) for name in names)
    place = cache / f"models--{repository.replace('/', '--')}"
    return Weights(f"{constants.ENDPOINT}/{repository}", place, any(isinstance(path, str) for path in found))


def _known(backbone: str) -> Any:
    """Return timm's description of a backbone."""
    if not is_model(backbone):
        near = difflib.get_close_matches(backbone.partition(".")[0], list_models(), n=3, cutoff=0.3)
        raise ValueError(f"backbone='{backbone}': timm has no such model; the nearest are {', '.join(near) or 'none'}")
    try:
        return get_pretrained_cfg(backbone)
    except RuntimeError as error:
        tags = [name.partition(".")[2] for name in list_models(f"{backbone.partition('.')[0]}.*", pretrained=True)]
        raise ValueError(
            f"backbone='{backbone}': timm has no such weights; its tags are {', '.join(tags) or 'none'}"
        ) from error


def _encoder(backbone: str, pretrained: bool, levels: int | None, options: dict[str, Any]) -> Any:
    """Return the backbone's first levels."""
    on_meta = torch.empty(0).device.type == "meta"

    def create(**chosen: Any) -> Any:
        # Without numbers there is nothing to load, and a plan downloads nothing.
        return create_model(backbone, features_only=True, pretrained=pretrained and not on_meta, **options, **chosen)

    try:
        if levels is None:
            return create()
        try:
            return create(out_indices=tuple(range(levels)))
        except (IndexError, AssertionError):
            available = len(create().feature_info.reduction())
            raise ValueError(f"levels={levels}: backbone '{backbone}' has {available}") from None
    except OSError as error:
        where = _weights(_known(backbone))
        raise ValueError(
            f"backbone='{backbone}': its weights are not in the cache and cannot be downloaded from {where.address}: "
            f"{error}; by hand: copy {where.place} from a machine where they were downloaded"
        ) from error
    except (RuntimeError, TypeError, AssertionError) as error:
        size = "x".join(map(str, options.get("img_size", ())))
        built = f" for images of {size}" if size else ""
        raise ValueError(f"backbone='{backbone}' cannot give features{built} (features_only): {error}") from error


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """Return the three values that a backbone expects for colours, or their mean for other channels: (1, C, 1, 1)."""
    chosen = list(values) if channels == len(values) else [sum(values) / len(values)] * channels
    return torch.tensor(chosen).view(1, -1, 1, 1)
