"""Transformers on patches: the vision transformer (ViT), and the diffusion transformer (DiT)."""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch
from pydantic import Field
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional

from gahbench_plugins.architectures.layers import NoiseEmbedding, append_noise_level, need_shape

Grid = tuple[int, int]
Patch = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=4, multiple_of=4)]
Depth = Annotated[int, Field(ge=1, le=1000)]
Heads = Annotated[int, Field(ge=1)]
Window = Annotated[int, Field(ge=2)] | None


class ViT(nn.Module):
    """Vision transformer on patches, with global or local attention, after Dosovitskiy et al., ICLR 2021.

    Each patch is a token, to which sines and cosines of its position are added. Blocks consist of attention and a
    perceptron with four times as many hidden units, each after layer normalisation. A linear map from each token
    estimates the noise in its patch, which ``forward`` subtracts. Unlike in classification, the last tokens are not
    normalised, since normalisation would remove the magnitude of the noise. With ``window``, attention is limited to
    windows, shifted by half a window in every second block (Liu et al., ICCV 2021). Attention and perceptrons come from
    timm.

    With the defaults the network has 0.67 M parameters for grey images of 80x80. The receptive field is global, or with
    ``window`` a square of depth x window x patch pixels. The network is not homogeneous, because of normalisation. It
    accepts only images of the shape of its dataset, whose sides must be multiples of ``patch``.

    Parameters
    ----------
    shape
        Shape (C, H, W) of the images.
    patch
        Side of a patch in pixels.
    width
        Dimension of tokens, a multiple of 4.
    depth
        Number of blocks.
    heads
        Number of attention heads, a divisor of ``width``.
    window
        Side of a window in patches, a divisor of the numbers of rows and columns of patches; ``null`` for global
        attention.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "vision transformer"
    citation = "dosovitskiy-2021"
    label_parameters = ("width",)

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: Patch = 4,
        width: Width = 96,
        depth: Depth = 6,
        heads: Heads = 4,
        window: Window = None,
        blind: bool = True,
    ) -> None:
        super().__init__()
        self.blind = blind
        self.patches = Patches(shape, patch, width, maps=0 if blind else 1)
        self.blocks = nn.ModuleList(
            Block(width, heads, self.patches.grid, window, shifted=index % 2 == 1) for index in range(depth)
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); ``sigma`` of shape (N,) is used only if not ``blind``."""
        need_shape(noisy, self.patches.shape, "vit")
        tokens = self.patches.tokens(noisy if self.blind else append_noise_level(noisy, sigma))
        for block in self.blocks:
            tokens = block(tokens)
        return noisy - self.patches.images(tokens)


class DiT(nn.Module):
    """Diffusion transformer conditioned on the noise level by adaptive normalisation, after Peebles & Xie, ICCV 2023.

    DiT is a vision transformer in which an embedding of log sigma shifts and scales every normalised layer, and gates
    every residual branch. The gates start at 0, so that blocks start as the identity (adaLN-Zero). The network
    estimates noise of unit variance, and ``forward`` subtracts sigma times its output. With ``window``, attention is
    limited to windows, shifted by half a window in every second block. Attention and perceptrons come from timm.

    With the defaults the network has 1.04 M parameters for grey images of 80x80. The receptive field is global, or with
    ``window`` a square of depth x window x patch pixels. The network is not homogeneous, because of normalisation. It
    accepts only images of the shape of its dataset, whose sides must be multiples of ``patch``.

    Parameters
    ----------
    shape
        Shape (C, H, W) of the images.
    patch
        Side of a patch in pixels.
    width
        Dimension of tokens, a multiple of 4.
    depth
        Number of blocks.
    heads
        Number of attention heads, a divisor of ``width``.
    window
        Side of a window in patches, a divisor of the numbers of rows and columns of patches; ``null`` for global
        attention.
    """

    display_name = "diffusion transformer"
    citation = "peebles-2023"
    label_parameters = ("width",)

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: Patch = 4,
        width: Width = 96,
        depth: Depth = 6,
        heads: Heads = 4,
        window: Window = None,
    ) -> None:
        super().__init__()
        self.patches = Patches(shape, patch, width)
        self.level = NoiseEmbedding(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, self.patches.grid, window, shifted=index % 2 == 1, conditioned=True)
            for index in range(depth)
        )
        self.modulation = _zeros(width, 2 * width)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        need_shape(noisy, self.patches.shape, "dit")
        level, tokens = self.level(sigma), self.patches.tokens(noisy)
        for block in self.blocks:
            tokens = block(tokens, level)
        shift, scale = self.modulation(level).unsqueeze(1).chunk(2, dim=2)
        noise = self.patches.images(functional.layer_norm(tokens, tokens.shape[-1:]) * (1 + scale) + shift)
        return noisy - sigma.view(-1, 1, 1, 1) * noise


class Patches(nn.Module):
    """Conversion of images to tokens, one per square patch, and back (Dosovitskiy et al. 2021)."""

    positions: Tensor

    def __init__(self, shape: tuple[int, int, int], patch: int, width: int, maps: int = 0) -> None:
        super().__init__()
        channels, height, breadth = shape
        if height % patch or breadth % patch:
            raise ValueError(f"patch={patch} needs image sides that are multiples of {patch}, not {height}x{breadth}")
        self.shape, self.patch = shape, patch
        self.grid: Grid = (height // patch, breadth // patch)
        self.embed = nn.Conv2d(channels + maps, width, patch, stride=patch)
        embedding = build_sincos2d_pos_embed(list(self.grid), width)[None]
        self.register_buffer("positions", embedding, persistent=False)
        self.restore = nn.Linear(width, channels * patch**2)
        # Small weights let training start near the identity, as in ``residual_output``.
        with torch.no_grad():
            self.restore.weight.mul_(0.01)
            self.restore.bias.zero_()

    def tokens(self, images: Tensor) -> Tensor:
        """Return tokens of shape (N, L, width) for images and maps of shape (N, C + maps, H, W)."""
        embedded: Tensor = self.embed(images)
        return embedded.flatten(2).transpose(1, 2) + self.positions

    def images(self, tokens: Tensor) -> Tensor:
        """Return images (N, C, H, W) from tokens (N, L, width)."""
        pixels: Tensor = self.restore(tokens)
        return functional.pixel_shuffle(pixels.transpose(1, 2).view(len(pixels), -1, *self.grid), self.patch)


class Block(nn.Module):
    """Attention, then a perceptron, each applied to normalised tokens and added to its input.

    If the block is conditioned, the noise level shifts, scales and gates both.
    """

    def __init__(
        self, width: int, heads: int, grid: Grid, window: int | None, *, shifted: bool, conditioned: bool = False
    ) -> None:
        super().__init__()
        self.modulation = _zeros(width, 6 * width) if conditioned else None
        self.attention = TokenAttention(width, heads, grid, window, shifted)
        self.perceptron = Mlp(width, hidden_features=4 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=not conditioned) for _ in range(2))

    def forward(self, tokens: Tensor, level: Tensor | None = None) -> Tensor:
        """Return tokens of shape (N, L, width), given tokens and, if conditioned, embedded levels (N, width)."""
        first, second = self.norms
        result: Tensor
        if self.modulation is None:
            tokens = tokens + self.attention(first(tokens))
            result = tokens + self.perceptron(second(tokens))
            return result
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(level).unsqueeze(1).chunk(6, dim=2)
        tokens = tokens + gate * self.attention(first(tokens) * (1 + scale) + shift)
        result = tokens + gate_2 * self.perceptron(second(tokens) * (1 + scale_2) + shift_2)
        return result


class TokenAttention(nn.Module):
    """Self-attention between all tokens on a grid, or within windows (Liu et al. 2021)."""

    mask: Tensor | None

    def __init__(self, width: int, heads: int, grid: Grid, window: int | None, shifted: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        if window is not None and (grid[0] % window or grid[1] % window):
            raise ValueError(
                f"window={window} needs a grid of patches whose sides are multiples of {window}; "
                f"images of this size have {grid[0]}x{grid[1]} patches"
            )
        self.grid, self.window = grid, window
        self.shift = [window // 2 if window and shifted and side > window else 0 for side in grid]
        mask = None
        if window and any(self.shift):
            # Tokens that only the cyclic shift joined do not attend to each other.
            wraps = [torch.arange(side) >= side - shift for side, shift in zip(grid, self.shift, strict=True)]
            regions = 2 * wraps[0][:, None].long() + wraps[1].long()
            flat = window_partition(regions[None, ..., None], (window, window)).flatten(1)
            mask = torch.zeros(()).masked_fill(flat[:, :, None] != flat[:, None, :], float("-inf"))
        self.register_buffer("mask", mask, persistent=False)
        self.inner: Any = (
            WindowAttention(width, heads, window_size=window) if window else Attention(width, heads, qkv_bias=True)
        )
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode."""
        # The fused kernel needs memory linear in the number of tokens, but cannot be differentiated under
        # ``torch.func.vmap``, so evaluation uses plain matrix products.
        self.inner.fused_attn = mode and self.window is None
        return super().train(mode)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of shape (N, L, width)."""
        if self.window is None:
            result: Tensor = self.inner(tokens)
            return result
        window, (down, right) = (self.window, self.window), self.shift
        rolled = tokens.view(len(tokens), *self.grid, -1).roll((-down, -right), (1, 2))
        attended = self.inner(window_partition(rolled, window).flatten(1, 2), mask=self.mask)
        joined: Tensor = window_reverse(attended, window, *self.grid)
        return joined.roll((down, right), (1, 2)).flatten(1, 2)


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
