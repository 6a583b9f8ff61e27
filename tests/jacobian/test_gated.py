"""Jacobians with gates computed in float32 and products in bfloat16."""

import pytest
import torch
from torch import nn

import gahbench
from gahbench.jacobian import Jacobian

SIDE = 10
RELU_NETWORKS = [
    "unet[width=6,levels=1]", "bf-cnn[width=6,layers=5]", "dncnn[width=6,layers=5]", "ffdnet[width=6,layers=4]",
]  # fmt: skip


def network(name):
    """Return a network in evaluation mode, with weights such that all layers affect the output."""
    torch.manual_seed(0)
    model = gahbench.create("architecture", name, shape=(1, SIDE, SIDE)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
            else:
                parameter.uniform_(0.5, 1.5)
    return model


class Squares(nn.Module):
    """A network that is not linear between its ReLUs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return torch.relu(self.layer(noisy)) ** 2 + noisy


class Casts(Squares):
    """A network that always computes in float32."""

    def forward(self, noisy, sigma):
        return torch.relu(self.layer(noisy.float()))


class Linear(Squares):
    """A network without ReLUs."""

    def forward(self, noisy, sigma):
        return self.layer(noisy)


OTHERS = ["nafnet[width=4]", "vit[width=16,depth=1,patch=2]", "mlp[width=16]", Squares, Casts, Linear]


@pytest.mark.parametrize("name", [*RELU_NETWORKS, *OTHERS])
def test_matrices_are_accurate_and_their_errors_are_measured(name):
    model = network(name) if isinstance(name, str) else name().eval()
    noisy = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    jacobian = Jacobian(model, noisy, torch.tensor([0.1, 0.3]))
    exact, (matrices, errors) = jacobian.matrices(), jacobian.matrices_in_bfloat16()
    expected = (matrices - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert (expected <= 0.012).all()
    torch.testing.assert_close(errors, expected.double(), rtol=0.5, atol=1e-6)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    if name in (*RELU_NETWORKS[:2], Linear):
        assert bool(errors.max() > 0) == (name != Linear)


def test_columns_are_timed_only_for_networks_that_are_supported():
    noisy = torch.rand(1, 1, SIDE, SIDE)
    jacobian = Jacobian(network(RELU_NETWORKS[0]), noisy, 0.1)
    assert jacobian.columns("float32", 7).shape[-2:] == jacobian.columns("bfloat16", 7).shape == (7, SIDE**2)
    with pytest.raises(ValueError, match="ReLU"):
        Jacobian(Linear().eval(), noisy, 0.1).columns("bfloat16", 7)
