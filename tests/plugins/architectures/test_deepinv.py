"""Networks of deepinv: architectures with parameters of gahbench, and any other network by its class name."""

import sys

import pytest
import torch
from given_networks import images, untrained
from safetensors.torch import save_file
from torch import nn
from torch.func import vjp

from gahbench._util.errors import ParameterError
from gahbench_plugins.architectures._deepinv import NOT_TRAINED, denoiser_names, load
from gahbench_plugins.architectures.deepinv import Deepinv, DRUNet, GSDRUNet, NCSNpp, Restormer, SCUNet, SwinIR

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
    """Build a tiny network, and replace zeros in its last layers."""
    result = untrained(network, shape, **TINY[network])
    generator = torch.Generator().manual_seed(0)
    for parameter in result.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.05, generator=generator)
    return result


def relative(result, expected):
    return float((result - expected).detach().norm() / expected.detach().norm())


@installed
@pytest.mark.parametrize("network", TINY)
def test_denoised_images_equal_those_of_deepinv(network):
    """The network is called as deepinv documents it: images in [0, 1], sigma in the same units."""
    ours, sigma = build(network), torch.tensor([0.1, 0.3])
    noisy = images(2, (1, 32, 32))
    assert relative(ours(noisy, sigma), ours.network(noisy, sigma)) < 1e-5


@installed
@pytest.mark.parametrize("network", TINY)
def test_networks_of_deepinv_use_sigma_or_are_blind(network):
    ours, noisy = build(network), images(1, (1, 32, 32))
    difference = relative(ours(noisy, torch.tensor([0.5])), ours(noisy, torch.tensor([0.1])))
    assert (difference > 1e-4) == (network in USE_SIGMA)


@installed
def test_the_jacobian_of_a_gradient_step_is_symmetric():
    noisy, sigma = images(1, (1, 32, 32)).double(), torch.tensor([0.1]).double()
    left, right = torch.randn(2, *noisy.shape, generator=torch.Generator().manual_seed(0)).double()

    def asymmetry(network):
        network = network.double()
        _, pull = vjp(lambda y: network(y, sigma), noisy)
        first, second = (right * pull(left)[0]).sum(), (left * pull(right)[0]).sum()
        return float(((first - second).abs() / (first.abs() + second.abs())).detach())

    assert asymmetry(build(GSDRUNet)) < 1e-6
    assert asymmetry(build(DRUNet)) > 1e-3


@installed
def test_drunet_is_homogeneous_in_image_and_sigma():
    ours, noisy, sigma = build(DRUNet), images(1, (1, 32, 32)), torch.tensor([0.1])
    assert relative(ours(3 * noisy, 3 * sigma), 3 * ours(noisy, sigma)) < 1e-5


@installed
def test_ncsnpp_returns_the_image_without_noise():
    noisy = images(1, (1, 16, 16))
    assert (build(NCSNpp)(noisy, torch.zeros(1)) - noisy).abs().max() < 1e-3


@installed
def test_local_weights_are_loaded_from_nested_state_dicts(tmp_path):
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
def test_the_error_for_weights_of_another_network_lists_differences(tmp_path):
    file = str(tmp_path / "weights.safetensors")
    save_file(build(DRUNet).network.state_dict(), file)
    for device in ("cpu", "meta"):
        with torch.device(device), pytest.raises(ValueError, match=r"m_head.weight has shape \(4, 2, 3, 3\), not \(8"):
            DRUNet(1, width=8, blocks=1, weights=file)
    with pytest.raises(ValueError, match=r"19 missing: m_body.0.*, \.\.\.; 5 unknown: m_body.res"):
        DRUNet(1, width=4, blocks=2, weights=file)
    with pytest.raises(ParameterError, match="no such file"):
        DRUNet(1, width=4, blocks=1, weights=str(tmp_path / "none.pth"))


def test_an_error_names_unknown_weights(tmp_path):
    save_file({"weight": torch.zeros(1, 1), "gain": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="1 missing: bias; 1 unknown: gain"):
        load(nn.Linear(1, 1), tmp_path / "weights.safetensors")


def test_an_error_names_the_missing_extra(monkeypatch):
    for module in ("deepinv", "deepinv.models"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install 'gahbench\[deepinv\]'"):
        DRUNet(1)


#: Arguments of small denoisers, by class name.
SMALL = {
    "ADMUNet": "{model_channels: 32, channel_mult: [1, 1], num_blocks: 1, img_resolution: 32}",
    "AutoEncoder": "{dim_mid: 16}",
    "DRUNet": "{nc: [4, 8, 16, 32], nb: 1}",
    "DScCP": "{depth: 2, n_channels_per_layer: 8}",
    "DiffUNet": "{}",
    "DnCNN": "{depth: 3, nf: 8}",
    "FFDNet": "{n_conv_layers: 3, nf: 8}",
    "NCSNpp": "{model_channels: 32, channel_mult: [1, 1], num_blocks: 1}",
    "Restormer": "{dim: 8, num_blocks: [1, 1, 1, 1]}",
    "SCUNet": "{config: [1, 1, 1, 1, 1, 1, 1]}",
    "SwinIR": "{embed_dim: 12, depths: [1], num_heads: [2]}",
    "UNet": "{scales: 2}",
}
#: Denoisers of colour images only.
COLOUR = ("DScCP",)


@installed
@pytest.mark.parametrize("model", SMALL)
def test_every_denoiser_maps_images_and_sigmas_to_images(model):
    shape = (3 if model in COLOUR else 1, 32, 32)
    network = untrained(Deepinv, shape, channels=shape[0], model=model, arguments=SMALL[model])
    assert any(parameter.requires_grad for parameter in network.parameters())
    noisy, sigma = images(2, shape), torch.tensor([0.1, 0.3])
    result = []
    for denoiser in (network, network.network):
        # Some denoisers are random in evaluation mode: DScCP starts a power iteration with random numbers.
        torch.manual_seed(0)
        with torch.no_grad():
            result.append(denoiser(noisy, sigma))
    assert result[0].shape == noisy.shape
    assert torch.equal(*result)


@installed
def test_the_accepted_names_are_all_trainable_denoisers_of_deepinv():
    from deepinv import models

    assert set(denoiser_names()) == set(SMALL)
    refused = set(vars(models)) - set(SMALL)
    assert set(NOT_TRAINED) <= refused
    assert {"Denoiser", "GSDRUNet", "ICNN", "MoDL", "RAM", "EDMPrecond", "TVDenoiser", "Client"} <= refused


@installed
@pytest.mark.parametrize(("model", "reason"), [
    ("DnCN", "deepinv.models has no such name; did you mean 'DnCNN'"),
    ("MoDL", "it is not a denoiser class of deepinv.models"),
    ("GSDRUNet", "it is not a denoiser class of deepinv.models"),
    ("MedianFilter", "it has no weights to train"),
    ("EquivariantDenoiser", "it has no weights to train"),
    ("MPRNet", r"its forward does not accept \(image, sigma\)"),
])  # fmt: skip
def test_other_names_are_refused_with_those_accepted(builtin, model, reason):
    with pytest.raises(ParameterError, match=rf"architecture 'deepinv': model={model}: {reason}.*accepted: ADMUNet, "):
        builtin.create("architecture", f"deepinv[{model}]", (1, 32, 32))


@installed
@pytest.mark.parametrize(("arguments", "message"), [
    ("{dept: 3}", "no argument 'dept'; did you mean 'depth'.*accepted: depth, bias, nf, dim"),
    ("{in_channels: 3}", "no argument 'in_channels'; accepted: depth"),
    ("{pretrained: download}", "no argument 'pretrained'; accepted: depth"),
    ("{depth: deep}", "DnCNN with the arguments {'depth': 'deep'}: TypeError"),
    ("[3]", "a mapping from names to values is accepted"),
])  # fmt: skip
def test_arguments_that_the_class_does_not_take_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Deepinv(1, None, "DnCNN", arguments)


@installed
@pytest.mark.parametrize("model", [*SMALL, "gs-drunet"])
def test_networks_are_built_on_the_meta_device_without_downloads(model, monkeypatch):
    def download(*arguments, **options):
        raise AssertionError(f"downloads {arguments}")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    with torch.device("meta"):
        network = GSDRUNet(3, 4) if model == "gs-drunet" else Deepinv(3, (3, 32, 32), model, SMALL[model])
    assert all(parameter.is_meta for parameter in network.parameters())
