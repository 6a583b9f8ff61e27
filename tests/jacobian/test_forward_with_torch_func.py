"""Jacobians of networks that differentiate in their own forward pass."""

import torch
from torch import nn

from gahbench.jacobian import Jacobian


class GradientStep(nn.Module):
    """The image less the gradient of the sum of cubes over three, whose Jacobian is the identity less 2 diag(y)."""

    def forward(self, noisy, sigma):
        value, pull_back = torch.func.vjp(lambda moved: moved**3 / 3, noisy)
        return noisy - pull_back(torch.ones_like(value))[0]


def test_jacobians_are_those_of_the_gradient_step():
    noisy = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    jacobian = Jacobian(GradientStep().eval(), noisy, 0.1)
    expected = torch.diag_embed(1 - 2 * noisy.flatten(1))
    torch.testing.assert_close(jacobian.matrices().float(), expected)
