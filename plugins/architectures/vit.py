"""Vision transformer (ViT) for denoising."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from .._papers import DOSOVITSKIY_2021
from ._inputs import append_noise_level
from ._tokens import Grid, Patches, TokenAttention, check_windows


class ViT(nn.Module):
    """Vision transformer on patches, with global or local attention, after Dosovitskiy et al., ICLR 2021.

    Each patch is a token. Blocks consist of attention and a perceptron, each after layer normalisation. A linear map
    from each token estimates the noise in its patch, which ``forward`` subtracts. Unlike in classification, the last
    tokens are not normalised, since normalisation would remove the magnitude of the noise. With ``window``, attention
    is limited to windows, shifted by half a window in every second block (Liu et al., ICCV 2021). Attention and
    perceptrons come from timm.

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
        Dimension of tokens.
    depth
        Number of blocks.
    heads
        Number of attention heads, a divisor of ``width``.
    window
        Side of a window in patches, a divisor of the numbers of rows and columns of patches; ``null`` for global
        attention.
    mlp_ratio
        Number of hidden units of a perceptron divided by ``width``.
    positions
        Position embedding: ``sincos`` for fixed sines and cosines, or ``learned``.
    blind
        Whether to ignore the noise level; otherwise a map of it is an additional input channel.
    """

    display_name = "vision transformer"
    citation = DOSOVITSKIY_2021
    label_parameters = ("width",)

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: Annotated[int, Field(ge=1)] = 4,
        width: Annotated[int, Field(ge=4)] = 96,
        depth: Annotated[int, Field(ge=1, le=1000)] = 6,
        heads: Annotated[int, Field(ge=1)] = 4,
        window: Annotated[int, Field(ge=2)] | None = None,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        positions: Literal["sincos", "learned"] = "sincos",
        blind: bool = True,
    ) -> None:
        super().__init__()
        self.blind, self.window = blind, window
        self.patches = Patches("vit", shape, patch, width, positions, maps=0 if blind else 1)
        self.blocks = nn.Sequential(
            *(
                Block(width, heads, self.patches.grid, window, mlp_ratio, shifted=index % 2 == 1)
                for index in range(depth)
            )
        )

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W); ``sigma`` of shape (N,) is used only if not ``blind``."""
        self.patches.check(noisy)
        check_windows("vit", self.patches.grid, self.window)
        inputs = noisy if self.blind else append_noise_level(noisy, sigma)
        return noisy - self.patches.images(self.blocks(self.patches.tokens(inputs)))


class Block(nn.Module):
    """Attention, then a perceptron, each applied to normalised tokens and added to its input."""

    def __init__(
        self, width: int, heads: int, grid: Grid, window: int | None, mlp_ratio: float, *, shifted: bool
    ) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = TokenAttention(width, heads, grid, window, shifted)
        self.norm_perceptron = nn.LayerNorm(width)
        self.perceptron = Mlp(width, hidden_features=max(1, round(mlp_ratio * width)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of shape (N, L, width)."""
        tokens = tokens + self.attention(self.norm_attention(tokens))
        result: Tensor = tokens + self.perceptron(self.norm_perceptron(tokens))
        return result
