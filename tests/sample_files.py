"""The content of a suite file that runs in seconds, and of plugin files."""

TINY = """
name: tiny
datasets:
  - sinusoids: {size: 16}
entrants:
  - unet: {width: 2, levels: 1}
  - identity
  - oracle-threshold: {basis: haar}
baseline: oracle-threshold[haar]
training: {steps: 12, batch_size: 4, compile: never, validations: 2, validation_images: 2}
scoring: {sigmas: [0.1, 0.3], images: 3, metrics: [psnr, slope]}
"""

#: The suite ``TINY`` without its network.
REFERENCES = TINY.replace("  - unet: {width: 2, levels: 1}\n", "")

#: The suite ``TINY`` with fits that take seconds, for tests that interrupt them.
LONG = TINY.replace("steps: 12", "steps: 250").replace("width: 2, levels: 1", "width: [2, 3], levels: 1")

PLUGIN = '''"""A plugin for tests."""
import os
import torch
from torch import nn
import gahbench


@gahbench.hookimpl
def register_architectures(register):
    register("{name}", Network)


class Network(nn.Module):
    """One convolution."""

    def __init__(self, channels: int, width: int = 4):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.last = nn.Conv2d(width, channels, 3, padding=1, bias=False)

    def noise(self, noisy):
        return self.last(torch.relu(self.first(noisy)))

    def forward(self, noisy, sigma):
{body}
'''

#: A plugin file with a reference.
HALF = """
import gahbench

@gahbench.hookimpl
def register_references(register):
    register("half", Half)

class Half(gahbench.Reference):
    "Halves the image."
    def denoise(self, noisy, sigma, truth):
        return noisy / 2
"""
