"""Jacobians with gates computed in float32 and products in another precision."""

import pytest
import torch
from torch import nn

import gahbench
from gahbench.jacobian import Jacobian
from gahbench.jacobian.gated import _trace_graph, gated_matrix

SIDE, SIGMA = 10, torch.tensor([0.1])
NETWORKS = ["unet[width=6,levels=1]", "bf-cnn[width=6,layers=5]", "dncnn[width=6,layers=5]", "ffdnet[width=6,layers=4]"]


def network(name, seed=0):
    """Return a network in evaluation mode, with weights such that all layers affect the output."""
    torch.manual_seed(seed)
    model = gahbench.create("architecture", name, shape=(1, SIDE, SIDE)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
            else:
                parameter.uniform_(0.5, 1.5)
    return model


def image():
    return torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_products_in_float32_give_the_jacobian(name):
    model = network(name)
    matrix = gated_matrix(model, image(), SIGMA, torch.float32)
    expected = Jacobian(model, image(), 0.1).matrices()[0]
    torch.testing.assert_close(matrix, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_in_bfloat16_are_accurate_and_their_error_is_measured(name):
    model = network(name)
    exact = Jacobian(model, image(), 0.1).matrices()
    fast = Jacobian(model, image(), 0.1, precision="bfloat16")
    error = float((fast.matrices() - exact).norm() / exact.norm())
    assert error <= 0.012
    assert float(fast.errors()[0]) == pytest.approx(error, rel=0.5, abs=1e-6)
    # The network and its other products are unchanged.
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert torch.equal(fast.rmatvec(torch.eye(SIDE**2)[None]), exact)


@pytest.mark.parametrize("name", ["nafnet[width=4]", "vit[width=16,depth=1,patch=2]", "mlp[width=16]"])
def test_networks_with_other_nonlinearities_have_accurate_jacobians(name):
    model = network(name)
    noisy = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    exact = Jacobian(model, noisy, 0.1).matrices()
    fast = Jacobian(model, noisy, 0.1, precision="bfloat16").matrices()
    assert ((fast - exact).flatten(1).norm(dim=1) <= 0.012 * exact.flatten(1).norm(dim=1)).all()


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


@pytest.mark.parametrize("kind", [Squares, Casts, Linear])
def test_float32_is_used_for_networks_that_bfloat16_products_do_not_support(kind):
    model = kind().eval()
    fast = Jacobian(model, image(), 0.1, precision="bfloat16")
    assert torch.equal(fast.matrices(), Jacobian(model, image(), 0.1).matrices())
    assert fast.errors().tolist() == [0.0]


class Wasteful(nn.Module):
    """A network that computes, like the published UNet, an unused variance in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)])

    def forward(self, noisy, sigma):
        features = self.layers[0](noisy)
        spread = features.var(dim=(0, 2, 3), keepdim=True)
        return self.layers[1](torch.relu(features / spread if self.training else features)) * sigma.reshape(-1, 1, 1, 1)


def test_operations_that_do_not_affect_the_output_are_not_computed():
    model = Wasteful().eval()
    matrix = gated_matrix(model, image(), SIGMA, torch.float32)
    torch.testing.assert_close(matrix, Jacobian(model, image(), 0.1).matrices()[0], atol=1e-6, rtol=1e-4)
    graph = _trace_graph(model, (2, 1, SIDE, SIDE), ((1, 4, SIDE, SIDE),), torch.float32, torch.device("cpu"))
    names = [str(node.target) for node in graph.graph.nodes]
    assert not [name for name in names if "var" in name]
    assert len([name for name in names if "convolution" in name]) == 2


def test_changed_weights_change_the_jacobian():
    model = network("bf-cnn[width=6,layers=5]")
    before = gated_matrix(model, image(), SIGMA)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert not torch.equal(gated_matrix(model, image(), SIGMA), before)


def test_each_image_has_its_own_noise_level():
    model = network("ffdnet[width=6,layers=4]")
    noisy, levels = torch.rand(3, 1, SIDE, SIDE), torch.tensor([0.1, 0.2, 0.3])
    fast = Jacobian(model, noisy, levels, precision="bfloat16")
    exact = Jacobian(model, noisy, levels).matrices()
    for index in range(3):
        matrix = fast.select(index).matrices()[0]
        assert (matrix - exact[index]).norm() <= 0.012 * exact[index].norm()
