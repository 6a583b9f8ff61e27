"""Diffusion transformer (DiT)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional

from .._papers import PEEBLES_2023
from ._inputs import NoiseEmbedding
from ._tokens import Grid, Patches, TokenAttention, check_windows


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
    """

    display_name = "diffusion transformer"
    citation = PEEBLES_2023
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
    ) -> None:
        super().__init__()
        self.window = window
        self.patches = Patches("dit", shape, patch, width, positions)
        self.level = NoiseEmbedding(width)
        self.blocks = nn.ModuleList(
            ConditionedBlock(width, heads, self.patches.grid, window, mlp_ratio, shifted=index % 2 == 1)
            for index in range(depth)
        )
        self.modulation = _zeros(width, 2 * width)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise images of shape (N, C, H, W) whose noise has standard deviations ``sigma``, shape (N,)."""
        self.patches.check(noisy)
        check_windows("dit", self.patches.grid, self.window)
        level = self.level(sigma)
        tokens = self.patches.tokens(noisy)
        for block in self.blocks:
            tokens = block(tokens, level)
        shift, scale = self.modulation(level).unsqueeze(1).chunk(2, dim=2)
        noise = self.patches.images(_modulate(_norm(tokens), shift, scale))
        return noisy - sigma.view(-1, 1, 1, 1) * noise


class ConditionedBlock(nn.Module):
    """Attention, then a perceptron, shifted, scaled and gated by the noise level."""

    def __init__(
        self, width: int, heads: int, grid: Grid, window: int | None, mlp_ratio: float, *, shifted: bool
    ) -> None:
        super().__init__()
        self.modulation = _zeros(width, 6 * width)
        self.attention = TokenAttention(width, heads, grid, window, shifted)
        self.perceptron = Mlp(width, hidden_features=max(1, round(mlp_ratio * width)))

    def forward(self, tokens: Tensor, level: Tensor) -> Tensor:
        """Return tokens of shape (N, L, width), given the embedded noise level (N, width)."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(level).unsqueeze(1).chunk(6, dim=2)
        tokens = tokens + gate * self.attention(_modulate(_norm(tokens), shift, scale))
        result: Tensor = tokens + gate_2 * self.perceptron(_modulate(_norm(tokens), shift_2, scale_2))
        return result


def _norm(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:])


def _modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return tokens * (1 + scale) + shift


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
