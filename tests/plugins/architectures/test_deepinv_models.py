"""The architecture ``deepinv``: any trainable denoiser of the package, by the name of its class."""

import pytest
import torch
from given_networks import images, untrained
from safetensors.torch import save_file

from gahbench._util.errors import ParameterError
from gahbench_plugins.architectures._deepinv import NOT_TRAINED, denoisers
from gahbench_plugins.architectures.deepinv import Deepinv, DRUNet, GSDRUNet

pytestmark = pytest.mark.extras("deepinv")

#: Arguments that make each denoiser small, by the name of its class.
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
#: Denoisers that take colour images alone.
COLOUR = ("DScCP",)


@pytest.mark.parametrize("model", SMALL)
def test_every_denoiser_maps_images_and_sigmas_to_images(model):
    shape = (3 if model in COLOUR else 1, 32, 32)
    network = untrained(Deepinv, shape, channels=shape[0], model=model, arguments=SMALL[model])
    assert any(parameter.requires_grad for parameter in network.parameters())
    noisy, sigma = images(2, shape), torch.tensor([0.1, 0.3])
    found = []
    for denoiser in (network, network.network):
        # Some draw numbers in evaluation too: DScCP starts a power iteration with them.
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(denoiser(noisy, sigma))
    assert found[0].shape == noisy.shape
    assert torch.equal(*found)


def test_the_accepted_names_are_all_that_the_package_has():
    from deepinv import models

    assert set(denoisers()) == set(SMALL)
    refused = set(vars(models)) - set(SMALL)
    assert set(NOT_TRAINED) <= refused
    assert {"Denoiser", "GSDRUNet", "ICNN", "MoDL", "RAM", "EDMPrecond", "TVDenoiser", "Client"} <= refused


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("DnCN", "deepinv.models has none of this name; did you mean 'DnCNN'"),
        ("MoDL", "not the class of a denoiser in deepinv.models"),
        ("GSDRUNet", "not the class of a denoiser in deepinv.models"),
        ("MedianFilter", "without weights to train"),
        ("EquivariantDenoiser", "without weights to train"),
        ("MPRNet", r"its forward takes no \(image, sigma\)"),
    ],
)
def test_other_names_are_refused_with_those_accepted(builtin, model, reason):
    with pytest.raises(ParameterError, match=rf"architecture 'deepinv': model={model}: {reason}.*accepted: ADMUNet, "):
        builtin.create("architecture", f"deepinv[{model}]", (1, 32, 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{dept: 3}", "no argument 'dept' to choose; did you mean 'depth'.*accepted: depth, bias, nf, dim"),
        ("{in_channels: 3}", "no argument 'in_channels' to choose; accepted: depth"),
        ("{pretrained: download}", "no argument 'pretrained' to choose; accepted: depth"),
        ("{depth: deep}", "DnCNN with the arguments {'depth': 'deep'}: TypeError"),
        ("[3]", "a mapping from names to values is accepted"),
    ],
)
def test_arguments_that_the_class_does_not_take_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Deepinv(1, None, "DnCNN", arguments)


def test_the_label_shows_model_and_arguments(builtin):
    configured = builtin.configure("architecture", "deepinv", model="DnCNN", arguments={"nf": 8, "depth": 3})
    assert builtin.configure("architecture", configured.label).parameters == configured.parameters
    assert configured.label == "deepinv[DnCNN,arguments='{depth: 3, nf: 8}']"


def test_it_is_the_same_network_as_the_one_with_parameters_of_ours():
    ours = untrained(DRUNet, (1, 32, 32), width=4, blocks=1)
    theirs = untrained(Deepinv, (1, 32, 32), channels=1, model="DRUNet", arguments=SMALL["DRUNet"])
    noisy, sigma = images(2, (1, 32, 32)), torch.tensor([0.1, 0.3])
    assert torch.equal(ours(noisy, sigma), theirs(noisy, sigma))


def test_published_weights_are_the_checkpoint(tmp_path, builtin):
    network = untrained(Deepinv, (1, 16, 16), channels=1, model="DnCNN", arguments=SMALL["DnCNN"])
    # As deepinv publishes them: without a prefix.
    save_file(network.network.state_dict(), tmp_path / "dncnn.safetensors")
    spec = f"deepinv[DnCNN,arguments='{SMALL['DnCNN']}']"
    file = str(tmp_path / "dncnn.safetensors")
    reference = builtin.create("reference", "pretrained", architecture=spec, checkpoint=file)
    reference.check_shape((1, 16, 16))
    noisy = images(2, (1, 16, 16))
    with torch.no_grad():
        expected = network(noisy, torch.full((2,), 0.1))
    torch.testing.assert_close(reference.denoise(noisy, 0.1, None), expected)
    spec = "deepinv[DnCNN,arguments='{depth: 4}']"
    other = builtin.create("reference", "pretrained", architecture=spec, checkpoint=file)
    with pytest.raises(ParameterError, match=r"checkpoint dncnn\.safetensors for deepinv"):
        other.check_shape((1, 16, 16))


@pytest.mark.parametrize("model", [*SMALL, "gs-drunet"])
def test_nothing_is_downloaded_and_shapes_need_no_numbers(model, monkeypatch):
    def download(*arguments, **options):
        raise AssertionError(f"downloads {arguments}")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    with torch.device("meta"):
        network = GSDRUNet(3, 4) if model == "gs-drunet" else Deepinv(3, (3, 32, 32), model, SMALL[model])
    assert all(parameter.is_meta for parameter in network.parameters())
