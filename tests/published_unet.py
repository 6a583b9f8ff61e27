"""The UNet of Kadkhodaie et al. 2024 with the names of its published weights, for tests of these files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Norm(nn.Module):
    """Division by a stored standard deviation, and multiplication by a gain, in evaluation."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("running_sd", 0.5 + torch.rand(1, features, 1, 1))
        self.gammas = nn.Parameter(0.5 + torch.rand(1, features, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        return features / self.running_sd * self.gammas


def block(inputs: int, outputs: int, norms: tuple[bool, bool] = (True, True)) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number, norm in enumerate(norms):
        layers.append(nn.Conv2d(outputs if number else inputs, outputs, 3, padding=1, bias=False))
        layers += [Norm(outputs)] if norm else []
        layers.append(nn.ReLU())
    return layers


class PublishedUNet(nn.Module):
    """A network with random weights, in evaluation; ``forward`` returns the estimated noise."""

    def __init__(self, width: int, levels: int = 3, pool_window: int = 2, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.levels, self.pool_window = levels, pool_window
        widths = [width * 2**level for level in range(levels + 1)]
        self.encoder = nn.ModuleDict()
        for level in range(levels):
            layers = block(widths[level - 1], widths[level]) if level else block(1, width, (False, True))
            self.encoder[str(level)] = nn.Sequential(*layers)
        self.mid_block = nn.Sequential(*block(widths[-2], widths[-1]))
        self.decoder, self.upsample = nn.ModuleDict(), nn.ModuleDict()
        for level in reversed(range(levels)):
            self.upsample[str(level)] = nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2, bias=False)
            layers = block(widths[level + 1], widths[level])
            if not level:
                layers = [*layers[:3], nn.Conv2d(width, 1, 3, padding=1, bias=False)]
            self.decoder[str(level)] = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
        # Samples of networks that estimate much more noise than there is diverge.
        last = self.decoder["0"][-1]
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            last.weight *= 0.02
        self.eval()

    def forward(self, noisy: Tensor) -> Tensor:
        features, kept = noisy, []
        for level in range(self.levels):
            features = self.encoder[str(level)](features)
            kept.append(features)
            features = functional.avg_pool2d(features, self.pool_window, 2, (self.pool_window - 1) // 2)
        features = self.mid_block(features)
        for level in reversed(range(self.levels)):
            features = torch.cat([self.upsample[str(level)](features), kept[level]], dim=1)
            features = self.decoder[str(level)](features)
        return features
