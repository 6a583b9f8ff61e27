"""The chains of convolutions that the recurrent and the dense network of Mohan et al. 2020 consist of."""

from __future__ import annotations

from torch import Tensor, nn

from ._bias_free import keep_variance

#: Hidden convolutions of a chain, in all published networks.
HIDDEN = 5


class Stage(nn.Module):
    """Seven 3x3 convolutions with ReLU between them, named as in the published weights."""

    def __init__(self, inputs: int, width: int, outputs: int, *, bias: bool, last_bias: bool) -> None:
        super().__init__()
        self.first_layer = nn.Conv2d(inputs, width, 3, padding=1, bias=bias)
        self.hidden_layer_list = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(HIDDEN))
        self.last_layer = nn.Conv2d(width, outputs, 3, padding=1, bias=last_bias)
        keep_variance(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, ``outputs``, H, W) of (N, ``inputs``, H, W)."""
        features = self.first_layer(images).relu()
        for layer in self.hidden_layer_list:
            features = layer(features).relu()
        result: Tensor = self.last_layer(features)
        return result
