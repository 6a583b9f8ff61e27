"""A UNet with any backbone of timm as encoder."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlparse

import torch
from huggingface_hub import constants, try_to_load_from_cache
from pydantic import Field
from timm.layers.format import Format
from timm.models import create_model, get_pretrained_cfg, is_model, list_models
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import (
    append_noise_level,
    convolution,
    need_shape,
    next_multiple,
    pad_to_multiple,
    residual_output,
)

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
    citation = "ronneberger-2015"
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
        self.fixed_shape: tuple[int, int, int] | None = None
        config, inputs = _configuration(backbone), channels if blind else channels + 1
        options: dict[str, Any] = {"in_chans": inputs}
        if levels is not None:
            options["out_indices"] = tuple(range(levels))
        if config.fixed_input_size:
            if shape is None:
                raise ValueError(f"backbone '{backbone}' has a fixed image size, and needs the shape of the images")
            self.fixed_shape = shape
            options["img_size"] = tuple(next_multiple(side, STRIDE) for side in shape[1:])
        self.encoder = _encoder(backbone, pretrained, options)
        strides, features = self.encoder.feature_info.reduction(), self.encoder.feature_info.channels()
        self.multiple = max([*strides, STRIDE if self.fixed_shape else 1])
        self.is_channels_last = getattr(self.encoder, "output_fmt", None) == Format.NHWC
        for name, values in (("mean", config.mean), ("deviation", config.std)):
            self.register_buffer(name, _per_channel(values, channels))

        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in features)
        self.joins = nn.ModuleList(
            nn.Sequential(*convolution(2 * width, width, bias=True), *convolution(width, width, bias=True))
            for _ in features
        )
        self.stem = nn.Sequential(*convolution(inputs, width, bias=True))
        self.output = residual_output(width, channels, bias=True)

    @staticmethod
    def missing(backbone: str, pretrained: bool, **others: Any) -> tuple[str, ...]:
        """Return descriptions of the weights that must be downloaded."""
        place, is_cached = _weights(_configuration(backbone)) if pretrained else ("", True)
        return () if is_cached else (f"weights of {backbone}, {place}",)

    @staticmethod
    def prepare(backbone: str, pretrained: bool, **others: Any) -> None:
        """Download the weights if they are used and not in the cache."""
        if TimmUNet.missing(backbone, pretrained):
            _encoder(backbone, True, {})

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


def _configuration(backbone: str) -> Any:
    """Return the configuration of a backbone in timm."""
    name = backbone.partition(".")[0]
    try:
        if is_model(backbone):
            return get_pretrained_cfg(backbone)
        names, what = difflib.get_close_matches(name, list_models(), n=3, cutoff=0.3), "similar names"
    except RuntimeError:
        tags = list_models(f"{name}.*", pretrained=True)
        names, what = [tag.partition(".")[2] for tag in tags], "accepted tags"
    raise ValueError(f"backbone='{backbone}': timm has no such model or weights; {what}: {', '.join(names) or 'none'}")


def _weights(config: Any) -> tuple[str, bool]:
    """Return where the weights of a backbone come from and go to, and whether they are there, without a download."""
    if config.hf_hub_id and not config.file:
        repository, _, revision = config.hf_hub_id.partition("@")
        file = config.hf_hub_filename
        # timm prefers a safetensors file with the same stem.
        names = (file, str(PurePosixPath(file).with_suffix(".safetensors"))) if file else FILES
        cached = [try_to_load_from_cache(repository, name, constants.HF_HUB_CACHE, revision or None) for name in names]
        folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        return f"from {constants.ENDPOINT}/{repository} into {folder}", any(isinstance(path, str) for path in cached)
    url = config.url or ""
    path = Path(config.file or Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlparse(url).path).name))
    return f"from {url} into {path}", path.is_file()


def _encoder(backbone: str, pretrained: bool, options: dict[str, Any]) -> Any:
    """Build the layers of the backbone that return features."""
    # A network on the meta device has no values, so nothing is loaded or downloaded.
    is_loaded = pretrained and torch.empty(0).device.type != "meta"
    try:
        return create_model(backbone, features_only=True, pretrained=is_loaded, **options)
    except OSError as error:
        place = _weights(_configuration(backbone))[0]
        raise ValueError(
            f"backbone='{backbone}': its weights cannot be downloaded {place}, where you may copy them: {error}"
        ) from error
    except (RuntimeError, TypeError, AssertionError, IndexError) as error:
        raise ValueError(f"backbone='{backbone}' cannot return features with {options}: {error}") from error


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """Return values for each channel, shape (1, C, 1, 1): the given values, or their mean if their number is not C."""
    chosen = list(values) if channels == len(values) else [sum(values) / len(values)] * channels
    return torch.tensor(chosen).view(1, -1, 1, 1)
