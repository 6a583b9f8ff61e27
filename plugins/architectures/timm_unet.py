"""A UNet with any backbone of timm as encoder."""

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

from .._papers import RONNEBERGER_2015
from ._bias_free import convolution, residual_output
from ._inputs import append_noise_level, need_shape, next_multiple, pad_to_multiple

#: Total stride of most backbones. Smaller images become empty in some backbones, and backbones of a fixed image size
#: cut features into windows, which fit if sides are multiples of the stride.
STRIDE = 32
#: Default names of files of weights in a repository of the Hugging Face hub.
FILES = ("model.safetensors", "pytorch_model.bin")


class TimmUNet(nn.Module):
    """UNet whose encoder is any backbone of timm with feature maps (after Ronneberger et al. 2015).

    The features of the backbone, usually at strides from 2 or 4 to 32, are mapped to ``width`` channels. The decoder
    joins them from coarse to fine by nearest-neighbour upsampling, concatenation and two 3x3 convolutions with batch
    normalisation and ReLU. A convolution of the noisy image is joined last, which preserves details. The layers
    estimate the noise, which ``forward`` subtracts. Backbones come from Wightman, "PyTorch Image Models", 2019,
    doi:10.5281/zenodo.4414861; timm names their publications.

    With the defaults the network has 11.3 M parameters. The receptive field depends on the backbone: several hundred
    pixels, or global with global attention or pooling. The network is not homogeneous, since backbones have biases.
    Images of any size are padded by repeating border pixels to multiples of the coarsest stride, and to at least 32
    pixels. Backbones of a fixed image size (``swin``, ``maxvit``, ``vit``, ...) accept only images of the shape of the
    dataset.

    Parameters
    ----------
    channels
        Number of image channels.
    shape
        Shape (C, H, W) of the images, for backbones of a fixed image size.
    backbone
        Name of a model in timm, optionally with the tag of its weights, such as ``convnext_atto.d2_in1k``.
    pretrained
        Whether to start from the weights of timm, which are downloaded if they are not in its cache. A tag in the name
        of the backbone selects the weights. They need ``initialisation: own`` in training, as in the recipe ``kl``;
        other initialisations overwrite them.
    levels
        Number of levels of features, finest first; ``null`` for all. Later layers of the backbone are not used.
    width
        Number of channels of the decoder.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "U-Net with timm encoder, {backbone}"
    citation = RONNEBERGER_2015
    label_parameters = ("backbone",)
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        channels: int,
        shape: tuple[int, int, int] | None = None,
        backbone: str = "resnet18",
        pretrained: bool = False,
        levels: Annotated[int, Field(ge=1)] | None = None,
        width: Annotated[int, Field(ge=1)] = 32,
        blind: bool = True,
    ) -> None:
        super().__init__()
        self.blind = blind
        config = _configuration(backbone)
        self.fixed_shape: tuple[int, int, int] | None = None
        options: dict[str, Any] = {"in_chans": channels if blind else channels + 1}
        if config.fixed_input_size:
            if shape is None:
                raise ValueError(f"backbone '{backbone}' has a fixed image size, and needs the shape of the images")
            self.fixed_shape = shape
            options["img_size"] = tuple(next_multiple(side, STRIDE) for side in shape[1:])
        self.encoder = _encoder(backbone, pretrained, levels, options)
        information = self.encoder.feature_info
        self.multiple = max([*information.reduction(), STRIDE if self.fixed_shape else 1])
        self.is_channels_last = getattr(self.encoder, "output_fmt", None) == Format.NHWC
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
        """Return descriptions of the weights that must be downloaded."""
        if not pretrained:
            return ()
        weights = _locate_weights(_configuration(backbone))
        return () if weights.exists else (f"weights of {backbone}, from {weights.url} into {weights.path}",)

    @staticmethod
    def prepare(backbone: str, pretrained: bool, **others: Any) -> None:
        """Download the weights if they are used and not in the cache."""
        if pretrained and not _locate_weights(_configuration(backbone)).exists:
            _encoder(backbone, True, None, {})

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); ``sigma`` of shape (N,) is used only if not ``blind``."""
        if self.fixed_shape is not None:
            need_shape(noisy, self.fixed_shape, "timm-unet with this backbone")
        height, width = noisy.shape[-2:]
        inputs = pad_to_multiple((noisy - self.mean) / self.deviation, self.multiple, min_side=STRIDE)
        if not self.blind:
            inputs = append_noise_level(inputs, sigma)
        levels = self.encoder(inputs)
        if any(features.dim() != 4 for features in levels):
            raise ValueError("timm-unet needs a backbone with feature maps, which this backbone does not return")
        if self.is_channels_last:
            levels = [features.permute(0, 3, 1, 2) for features in levels]
        skips = [self.stem(inputs), *(lateral(maps) for lateral, maps in zip(self.lateral, levels, strict=True))]
        features = skips.pop()
        for join in self.joins:
            finer = skips.pop()
            upsampled = functional.interpolate(features, size=finer.shape[-2:], mode="nearest")
            features = join(torch.cat([upsampled, finer], dim=1))
        residual: Tensor = self.output(features)
        return noisy - residual[..., :height, :width]


class Weights(NamedTuple):
    """Location of the trained weights of a backbone: URL, local path, and whether they exist locally."""

    url: str
    path: Path
    exists: bool


def _locate_weights(config: Any) -> Weights:
    """Return the location of the weights of a backbone, given its configuration in timm, without a download."""
    if config.file:
        return Weights(str(config.file), Path(config.file), Path(config.file).is_file())
    if not config.hf_hub_id:
        path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(config.url or "").path).name
        return Weights(str(config.url), path, path.is_file())
    repository, _, revision = config.hf_hub_id.partition("@")
    file_name = config.hf_hub_filename
    # timm prefers a safetensors file with the same stem.
    names = (
        (file_name, str(PurePosixPath(file_name).with_suffix(".safetensors")), "open_clip_model.safetensors")
        if file_name
        else FILES
    )
    cache = Path(constants.HF_HUB_CACHE)
    cached = (try_to_load_from_cache(repository, name, cache, revision or None) for name in names)
    path = cache / f"models--{repository.replace('/', '--')}"
    return Weights(
        f"{constants.ENDPOINT}/{repository}", path, any(isinstance(cached_path, str) for cached_path in cached)
    )


def _configuration(backbone: str) -> Any:
    """Return the configuration of a backbone in timm."""
    if not is_model(backbone):
        near = difflib.get_close_matches(backbone.partition(".")[0], list_models(), n=3, cutoff=0.3)
        raise ValueError(f"backbone='{backbone}': timm has no such model; similar names: {', '.join(near) or 'none'}")
    try:
        return get_pretrained_cfg(backbone)
    except RuntimeError as error:
        tags = [name.partition(".")[2] for name in list_models(f"{backbone.partition('.')[0]}.*", pretrained=True)]
        raise ValueError(
            f"backbone='{backbone}': timm has no such weights; accepted tags: {', '.join(tags) or 'none'}"
        ) from error


def _encoder(backbone: str, pretrained: bool, levels: int | None, options: dict[str, Any]) -> Any:
    """Build the first levels of the backbone."""
    on_meta = torch.empty(0).device.type == "meta"

    def create(**level_options: Any) -> Any:
        # A network on the meta device has no values, so nothing is loaded or downloaded.
        return create_model(
            backbone, features_only=True, pretrained=pretrained and not on_meta, **options, **level_options
        )

    try:
        if levels is None:
            return create()
        try:
            return create(out_indices=tuple(range(levels)))
        except (IndexError, AssertionError):
            available = len(create().feature_info.reduction())
            raise ValueError(f"levels={levels}: backbone '{backbone}' has {available}") from None
    except OSError as error:
        weights = _locate_weights(_configuration(backbone))
        raise ValueError(
            f"backbone='{backbone}': its weights are not in the cache and cannot be downloaded from {weights.url}: "
            f"{error}; you may copy {weights.path} from another machine by hand"
        ) from error
    except (RuntimeError, TypeError, AssertionError) as error:
        size = "x".join(map(str, options.get("img_size", ())))
        condition = f" for images of {size}" if size else ""
        raise ValueError(f"backbone='{backbone}' cannot return features{condition} (features_only): {error}") from error


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """Return values for each channel, shape (1, C, 1, 1): the given values, or their mean if their number is not C."""
    chosen = list(values) if channels == len(values) else [sum(values) / len(values)] * channels
    return torch.tensor(chosen).view(1, -1, 1, 1)
