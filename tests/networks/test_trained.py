"""Trained networks as denoisers."""

import torch

import gahbench
from gahbench.networks import Trained
from gahbench.sampling.denoisers import wrap_denoiser


def test_sampling_does_not_change_denoised_images():
    """The memory layout of weights affects the rounding of sums."""
    torch.manual_seed(0)
    denoiser = Trained(gahbench.create("architecture", "unet[width=16,levels=2]", channels=1))
    noisy = torch.rand(2, 1, 16, 16)
    before = denoiser.denoise(noisy, 0.1, gahbench.Truth(noisy))
    wrap_denoiser(denoiser, (1, 16, 16))(noisy, torch.full((2,), 0.1))
    assert torch.equal(denoiser.denoise(noisy, 0.1, gahbench.Truth(noisy)), before)


def test_networks_with_3d_kernels_are_supported():
    class Depth(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv3d(1, 1, 3, padding=1)

        def forward(self, noisy, sigma):
            return self.layer(noisy[:, None])[:, 0]

    noisy = torch.rand(2, 1, 8, 8)
    assert Trained(Depth()).denoise(noisy, 0.1, gahbench.Truth(noisy)).shape == noisy.shape
