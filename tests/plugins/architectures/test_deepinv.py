import sys

import pytest
import torch
from given_networks import images, untrained
from safetensors.torch import save_file
from torch import nn
from torch.func import vjp
from torch.nn import functional

from gahbench._util.errors import ParameterError
from gahbench_plugins.architectures._deepinv import load
from gahbench_plugins.architectures.deepinv import DRUNet, GSDRUNet, NCSNpp, Restormer, SCUNet, SwinIR

TINY = {
    DRUNet: {"width": 4, "blocks": 1},
    GSDRUNet: {"width": 4, "blocks": 1},
    SwinIR: {"width": 8, "groups": 1, "blocks": 2, "heads": 2},
    Restormer: {"width": 4, "blocks": (1, 1, 1, 1), "refinement": 1},
    SCUNet: {"blocks": 1},
    NCSNpp: {"multipliers": (1, 1), "blocks": 1, "attention": 1},
}
USE_SIGMA = (DRUNet, GSDRUNet, NCSNpp)


installed = pytest.mark.extras("deepinv")


def build(network, shape=(1, 32, 32)):
    """Build a tiny network whose last layers, where they start at zero, are opened."""
    found = untrained(network, shape, **TINY[network])
    generator = torch.Generator().manual_seed(0)
    for parameter in found.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.05, generator=generator)
    return found


def relative(found, expected):
    return float((found - expected).detach().norm() / expected.detach().norm())


@installed
@pytest.mark.parametrize("network", TINY)
def test_the_image_is_that_of_deepinv(network):
    """It is called as deepinv documents it: images in [0, 1], sigma in the same units, the image returned."""
    ours, sigma = build(network), torch.tensor([0.1, 0.3])
    noisy = images(2, (1, 32, 32))
    assert relative(ours(noisy, sigma), ours.network(noisy, sigma)) < 1e-5


@installed
@pytest.mark.parametrize("network", TINY)
def test_some_use_sigma_and_the_others_are_blind(network):
    ours, noisy = build(network), images(1, (1, 32, 32))
    moved = relative(ours(noisy, torch.tensor([0.5])), ours(noisy, torch.tensor([0.1])))
    assert (moved > 1e-4) == (network in USE_SIGMA)


@installed
@pytest.mark.parametrize("network", [DRUNet, GSDRUNet, Restormer])
def test_other_sizes_are_continued_by_their_border_in_training_and_evaluation(network):
    ours, noisy, sigma = build(network), images(1, (1, 35, 66)), torch.tensor([0.2])
    whole = functional.pad(noisy, (0, 6, 0, 5), mode="replicate")
    expected = ours(whole, sigma)[..., :35, :66]
    assert relative(ours(noisy, sigma), expected) < 1e-5
    assert relative(ours.train()(noisy, sigma), expected) < 1e-5


@installed
def test_the_jacobian_of_a_gradient_step_is_symmetric():
    noisy, sigma = images(1, (1, 32, 32)).double(), torch.tensor([0.1]).double()
    left, right = torch.randn(2, *noisy.shape, generator=torch.Generator().manual_seed(0)).double()

    def asymmetry(network):
        network = network.double()
        _, pull = vjp(lambda y: network(y, sigma), noisy)
        one, other = (right * pull(left)[0]).sum(), (left * pull(right)[0]).sum()
        return float(((one - other).abs() / (one.abs() + other.abs())).detach())

    assert asymmetry(build(GSDRUNet)) < 1e-6
    assert asymmetry(build(DRUNet)) > 1e-3


@installed
def test_drunet_is_homogeneous_in_image_and_sigma():
    ours, noisy, sigma = build(DRUNet), images(1, (1, 32, 32)), torch.tensor([0.1])
    assert relative(ours(3 * noisy, 3 * sigma), 3 * ours(noisy, sigma)) < 1e-5


@installed
def test_without_noise_ncsnpp_leaves_the_image_as_it_is():
    noisy = images(1, (1, 16, 16))
    assert (build(NCSNpp)(noisy, torch.zeros(1)) - noisy).abs().max() < 1e-3


@installed
def test_sizes_that_do_not_fit_are_refused_with_those_that_do():
    with pytest.raises(ValueError, match="at least window=8, not 6x32"):
        build(SwinIR)(torch.zeros(1, 1, 6, 32), torch.ones(1))
    with pytest.raises(ValueError, match="multiples of 2, not 15x16"):
        build(NCSNpp)(torch.zeros(1, 1, 15, 16), torch.ones(1))
    with pytest.raises(ValueError, match="heads=4 must divide width=6"):
        SwinIR(1, width=6, heads=4)
    with pytest.raises(ValueError, match="attention=2: there are 2 scales"):
        NCSNpp(1, multipliers=(1, 1), attention=2)


@installed
def test_local_weights_are_loaded_whatever_they_are_nested_under(tmp_path):
    given = build(DRUNet)
    state = {name: tensor.clone() for name, tensor in given.network.state_dict().items()}
    torch.save({"params": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "nested.pth")
    save_file(state, tmp_path / "plain.safetensors")
    noisy, sigma = images(1, (1, 32, 32)), torch.tensor([0.1])
    for file in ("nested.pth", "plain.safetensors"):
        loaded = DRUNet(1, **TINY[DRUNet], weights=str(tmp_path / file)).eval()
        assert torch.equal(loaded(noisy, sigma), given(noisy, sigma))
        with torch.device("meta"):
            DRUNet(1, **TINY[DRUNet], weights=str(tmp_path / file))


@installed
def test_weights_of_another_network_are_refused_with_what_differs(tmp_path):
    file = str(tmp_path / "weights.safetensors")
    save_file(build(DRUNet).network.state_dict(), file)
    for device in ("cpu", "meta"):
        with torch.device(device), pytest.raises(ValueError, match=r"m_head.weight has shape \(4, 2, 3, 3\), not \(8"):
            DRUNet(1, width=8, blocks=1, weights=file)
    with pytest.raises(ValueError, match=r"19 missing: m_body.0.*, \.\.\.; 5 not known: m_body.res"):
        DRUNet(1, width=4, blocks=2, weights=file)
    with pytest.raises(ParameterError, match="no such file"):
        DRUNet(1, width=4, blocks=1, weights=str(tmp_path / "none.pth"))


def test_an_error_names_left_over_weights_too(tmp_path):
    save_file({"weight": torch.zeros(1, 1), "gain": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="1 missing: bias; 1 not known: gain"):
        load(nn.Linear(1, 1), tmp_path / "weights.safetensors")


def test_without_the_extra_an_error_names_it(monkeypatch):
    for module in ("deepinv", "deepinv.models"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install 'gahbench\[deepinv\]'"):
        DRUNet(1)
