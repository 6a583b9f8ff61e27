"""Building blocks of transformers: images as grids of tokens, and attention between tokens."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from timm.layers.attention import Attention
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, nn
from torch.nn import functional

from ._inputs import need_multiples, need_shape

Grid = tuple[int, int]
Positions = Literal["sincos", "learned"]


class Patches(nn.Module):
    """Conversion of images to tokens, one per square patch, and back (Dosovitskiy et al. 2021)."""

    position_embedding: Tensor

    def __init__(
        self, name: str, shape: tuple[int, int, int], patch: int, width: int, positions: Positions, maps: int = 0
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.name, self.shape, self.patch = name, shape, patch
        # ``check`` refuses sides that are not multiples of the patch, when images are denoised.
        self.grid: Grid = (max(1, height // patch), max(1, breadth // patch))
        self.embed = nn.Conv2d(channels + maps, width, patch, stride=patch)
        if positions == "learned":
            self.position_embedding = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], width))
            nn.init.trunc_normal_(self.position_embedding, std=0.02)
        else:
            if width % 4:
                raise ValueError(f"width={width} must be a multiple of 4 for positions=sincos")
            embedding = build_sincos2d_pos_embed(list(self.grid), width)[None]
            self.register_buffer("position_embedding", embedding, persistent=False)
        self.restore = nn.Linear(width, channels * patch**2)
        # Small weights let training start near the identity, as in ``residual_output``.
        with torch.no_grad():
            self.restore.weight.mul_(0.01)
            self.restore.bias.zero_()

    def check(self, images: Tensor) -> None:
        """Raise ``ValueError`` if images (N, C, H, W) do not have the shape of the network."""
        need_multiples(images, self.patch, f"{self.name} with patch={self.patch}")
        need_shape(images, self.shape, self.name)

    def tokens(self, images: Tensor) -> Tensor:
        """Return tokens of shape (N, L, width) for images and maps of shape (N, C + maps, H, W)."""
        embedded: Tensor = self.embed(images)
        return embedded.flatten(2).transpose(1, 2) + self.position_embedding

    def images(self, tokens: Tensor) -> Tensor:
        """Return images (N, C, H, W) from tokens (N, L, width)."""
        pixels: Tensor = self.restore(tokens)
        return functional.pixel_shuffle(pixels.transpose(1, 2).view(len(pixels), -1, *self.grid), self.patch)


class TokenAttention(nn.Module):
    """Self-attention between all tokens on a grid, or within windows (Liu et al. 2021)."""

    mask: Tensor | None

    def __init__(self, width: int, heads: int, grid: Grid, window: int | None, shifted: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.grid, self.window = grid, window
        self.shift = (0, 0)
        self.register_buffer("mask", None)
        self.inner: Any
        if window is None:
            self.inner = Attention(width, heads, qkv_bias=True)
        else:
            self.inner = WindowAttention(width, heads, window_size=window)
            if shifted:
                self.shift = (window // 2 if grid[0] > window else 0, window // 2 if grid[1] > window else 0)
            if any(self.shift) and not _is_indivisible(grid, window):
                self.register_buffer("mask", _mask(grid, window, self.shift), persistent=False)

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
        rolled = tokens.view(len(tokens), *self.grid, -1).roll((-self.shift[0], -self.shift[1]), (1, 2))
        attended = self.inner(_windows(rolled, self.window), mask=self.mask)
        return _from_windows(attended, self.grid, self.window).roll(self.shift, (1, 2)).flatten(1, 2)


def check_windows(name: str, grid: Grid, window: int | None) -> None:
    """Raise ``ValueError`` if windows do not tile the grid of tokens."""
    if window is not None and _is_indivisible(grid, window):
        raise ValueError(
            f"{name} with window={window} needs a grid of patches whose sides are multiples of {window}; "
            f"images of this size have {grid[0]}x{grid[1]} patches"
        )


def _is_indivisible(grid: Grid, window: int) -> bool:
    return bool(grid[0] % window or grid[1] % window)


def _windows(grid: Tensor, side: int) -> Tensor:
    """Cut a grid (N, R, C, width) into windows (N * windows, side * side, width)."""
    count, rows, columns, width = grid.shape
    cut = grid.view(count, rows // side, side, columns // side, side, width)
    return cut.transpose(2, 3).reshape(-1, side * side, width)


def _from_windows(windows: Tensor, grid: Grid, side: int) -> Tensor:
    """Join windows to a grid, the inverse of :func:`_windows`."""
    rows, columns = grid[0] // side, grid[1] // side
    cut = windows.view(-1, rows, columns, side, side, windows.shape[-1])
    return cut.transpose(2, 3).reshape(-1, *grid, windows.shape[-1])


def _mask(grid: Grid, window: int, shift: Grid) -> Tensor:
    """Return the attention mask, shape (windows, L, L): minus infinity between tokens that only the roll joined."""
    regions = torch.zeros(grid, dtype=torch.long)
    for axis in (0, 1):
        if shift[axis]:
            wrapped = (torch.arange(grid[axis]) >= grid[axis] - shift[axis]).long()
            regions = regions + (1 + axis) * (wrapped[:, None] if axis == 0 else wrapped[None, :])
    flat = _windows(regions[None, ..., None], window).squeeze(2)
    is_separate = flat[:, :, None] != flat[:, None, :]
    return torch.zeros(is_separate.shape).masked_fill(is_separate, float("-inf"))
