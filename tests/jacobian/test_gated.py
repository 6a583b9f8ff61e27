"""Jacobians from gates that are found in float32 and products in another precision."""

import pytest
import torch
from torch import nn

import gahbench
from gahbench.jacobian import Jacobian
from gahbench.jacobian.gated import _graph, gated_matrix

SIDE, SIGMA = 10, torch.tensor([0.1])
NETWORKS = ["unet[width=6,levels=1]", "bf-cnn[width=6,layers=5]", "dncnn[width=6,layers=5]", "ffdnet[width=6,layers=4]"]


def network(name, seed=0):
    """A network whose layers all matter, in evaluation."""
    torch.manual_seed(seed)
    made = gahbench.create("architecture", name).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
            else:
                parameter.uniform_(0.5, 1.5)
    return made


def image():
    return torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_with_products_in_float32_it_is_the_jacobian(name):
    made = network(name)
    found = gated_matrix(made, image(), SIGMA, torch.float32)
    expected = Jacobian(made, image(), 0.1).matrices()[0]
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_in_bfloat16_are_near_and_the_error_is_that_measured(name):
    made = network(name)
    exact = Jacobian(made, image(), 0.1).matrices()
    fast = Jacobian(made, image(), 0.1, precision="bfloat16")
    error = float((fast.matrices() - exact).norm() / exact.norm())
    assert error <= 0.012
    assert float(fast.errors()[0]) == pytest.approx(error, rel=0.5, abs=1e-6)
    # The network and the rest of its maps are as they were.
    assert all(parameter.dtype == torch.float32 for parameter in made.parameters())
    assert torch.equal(fast.rmatvec(torch.eye(SIDE**2)[None]), exact)


@pytest.mark.parametrize("name", ["nafnet[width=4]", "vit[width=16,depth=1,patch=2]", "mlp[width=16]"])
def test_networks_with_other_nonlinearities_are_done_in_float32_or_accurately(name):
    try:
        made = network(name)
    except gahbench.GahbenchError:
        made = gahbench.create("architecture", name, shape=(1, SIDE, SIDE)).eval()
    noisy = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    exact = Jacobian(made, noisy, 0.1).matrices()
    fast = Jacobian(made, noisy, 0.1, precision="bfloat16").matrices()
    assert ((fast - exact).flatten(1).norm(dim=1) <= 0.012 * exact.flatten(1).norm(dim=1)).all()


class Squares(nn.Module):
    """Not linear between its rectifiers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, noisy, sigma):
        return torch.relu(self.layer(noisy)) ** 2 + noisy


class Casts(Squares):
    """Computes in float32 whatever it is asked for."""

    def forward(self, noisy, sigma):
        return torch.relu(self.layer(noisy.float()))


class Linear(Squares):
    """Without a rectifier."""

    def forward(self, noisy, sigma):
        return self.layer(noisy)


@pytest.mark.parametrize("kind", [Squares, Casts, Linear])
def test_where_it_does_not_apply_float32_is_used(kind):
    made = kind().eval()
    fast = Jacobian(made, image(), 0.1, precision="bfloat16")
    assert torch.equal(fast.matrices(), Jacobian(made, image(), 0.1).matrices())
    assert fast.errors().tolist() == [0.0]


class Wasteful(nn.Module):
    """Measures, in evaluation too, what only training needs, as the published UNet does."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)])

    def forward(self, noisy, sigma):
        inside = self.layers[0](noisy)
        spread = inside.var(dim=(0, 2, 3), keepdim=True)
        return self.layers[1](torch.relu(inside / spread if self.training else inside)) * sigma.reshape(-1, 1, 1, 1)


def test_what_never_reaches_the_denoised_image_is_not_computed():
    made = Wasteful().eval()
    found = gated_matrix(made, image(), SIGMA, torch.float32)
    torch.testing.assert_close(found, Jacobian(made, image(), 0.1).matrices()[0], atol=1e-6, rtol=1e-4)
    used = _graph(made, (2, 1, SIDE, SIDE), ((1, 4, SIDE, SIDE),), torch.float32, torch.device("cpu"))
    names = [str(node.target) for node in used.graph.nodes]
    assert not [name for name in names if "var" in name]
    assert len([name for name in names if "convolution" in name]) == 2


def test_weights_that_change_are_seen():
    made = network("bf-cnn[width=6,layers=5]")
    before = gated_matrix(made, image(), SIGMA)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(0.5)
    assert not torch.equal(gated_matrix(made, image(), SIGMA), before)


def test_each_image_has_its_own_noise_level_and_place():
    made = network("ffdnet[width=6,layers=4]")
    noisy, levels = torch.rand(3, 1, SIDE, SIDE), torch.tensor([0.1, 0.2, 0.3])
    fast = Jacobian(made, noisy, levels, precision="bfloat16")
    exact = Jacobian(made, noisy, levels).matrices()
    for place in range(3):
        one = fast.only(place).matrices()[0]
        assert (one - exact[place]).norm() <= 0.012 * exact[place].norm()
