"""Weights that are drawn at random."""

import pytest
import torch


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)

    def positive(*shape):
        return 0.5 + torch.rand(*shape, generator=generator)

    def weights(outputs, inputs, side):
        # Variance 2 over the number of inputs keeps that of the features, so that differences in any layer show.
        deviation = (2 / (inputs * side**2)) ** 0.5
        return deviation * torch.randn(outputs, inputs, side, side, generator=generator)

    def vector(count):
        return 0.3 * torch.randn(count, generator=generator)

    return positive, weights, vector
