"""Networks from elsewhere: importable classes and functions, denoisers of deepinv, and UNets on backbones of timm."""

import functools
import re

import pytest
import torch
from given_networks import images, untrained
from safetensors.torch import save

from gahbench_plugins.architectures import timm_unet
from gahbench_plugins.architectures.module import Deepinv, Module
from gahbench_plugins.architectures.timm_unet import TimmUNet

SOURCE = '''
import torch
from torch import nn
from .helping import FACTOR

class Halves(nn.Module):
    """Half of what it gets."""

    def __init__(self, channels: int, factor: float = FACTOR):
        super().__init__()
        self.channels, self.factor = channels, factor

    def forward(self, images):
        assert images.shape[1] == self.channels
        return self.factor * images

class Conditional(nn.Module):
    def forward(self, images, noise_level=None):
        return images if noise_level is None else images + noise_level.view(-1, 1, 1, 1)

class Flag(nn.Module):
    def forward(self, images, flag=False):
        return images + 1 if flag is not False else images

class Map(nn.Module):
    def forward(self, images):
        return images[:, :-1] + images[:, -1:]

class Pair(nn.Module):
    def forward(self, images):
        return images, images

class Cells(nn.Module):
    """Needs sides that are multiples of 4."""

    def forward(self, images):
        return nn.functional.pixel_shuffle(nn.functional.pixel_unshuffle(images, 4), 4)

class Small(nn.Module):
    def forward(self, images):
        return images[..., 1:]

def sized(shape, factor=1.0):
    return Halves(shape[0], factor * shape[1])

def text():
    return "a text"
'''

NOISY, SIGMA = images(2, (1, 8, 8)), torch.tensor([0.1, 0.5])
LEVEL = SIGMA.view(-1, 1, 1, 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An importable third-party package."""
    package = tmp_path / f"foreign_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helping.py").write_text("FACTOR = 0.5\n")
    (package / "nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return package


@pytest.fixture
def denoise(folder):
    def run(name, noisy=NOISY, **parameters):
        factory = name if ":" in name else f"{folder.name}.nets:{name}"
        return Module(1, tuple(noisy.shape[1:]), factory, **parameters).eval()(noisy, SIGMA)

    return run


@pytest.mark.parametrize(("name", "parameters", "expected"), [
    ("Halves", {}, NOISY / 2),
    ("Halves", {"arguments": {"factor": 0.25}}, NOISY / 4),
    ("Halves", {"arguments": {"factor": 0.25}, "output": "residual"}, 0.75 * NOISY),
    ("Halves", {"scale": 255}, NOISY / 2),
    ("sized", {}, 8 * NOISY),
    ("torch.nn:Identity", {}, NOISY),
    ("Conditional", {"scale": 255}, NOISY + LEVEL),
    ("Conditional", {"scale": 255, "output": "residual"}, -LEVEL.expand_as(NOISY)),
    ("Conditional", {"sigma": "argument"}, NOISY + LEVEL),
    ("Conditional", {"sigma": "none"}, NOISY),
    ("Flag", {}, NOISY),
    ("Map", {"sigma": "channel"}, NOISY + LEVEL),
])  # fmt: skip
def test_images_and_levels_are_converted_for_the_network_and_back(denoise, name, parameters, expected):
    torch.testing.assert_close(denoise(name, **parameters), expected, atol=1e-6, rtol=1e-6)


def test_images_are_padded_to_multiples_and_results_cropped(denoise):
    noisy = images(2, (1, 9, 14))
    assert torch.equal(denoise("Cells", noisy, multiple=4), noisy)
    with pytest.raises(RuntimeError):
        denoise("Cells", noisy)


@pytest.mark.parametrize(("name", "parameters", "message"), [
    ("Halve", {}, "Halve"),
    ("Halves", {"arguments": {"fact": 1}}, r"'fact'(\. Did you mean 'factor'\?)?; accepted: \(channels: int, factor"),
    ("text", {}, "returned a str"),
    ("Pair", {}, "returned a tuple"),
    ("Small", {}, r"returned shape \(2, 1, 8, 7\); accepted: shape \(2, 1, 8, 8\)"),
    ("no_such_package.nets:Net", {}, "no_such_package.*accepted: 'package.mod:name'"),
])  # fmt: skip
def test_errors_of_a_factory_are_reported(denoise, name, parameters, message):
    with pytest.raises(ValueError, match=message):
        denoise(name, **parameters)


def test_the_fingerprint_depends_on_the_source_code(folder):
    def current_fingerprint():
        return Module.fingerprint(factory=f"{folder.name}.nets:Halves", arguments=None)

    first = current_fingerprint()
    (folder / "helping.py").write_text("FACTOR = 0.25\n")
    second = current_fingerprint()
    assert second != first
    (folder / "unrelated.py").write_text("x = 1\n")
    assert current_fingerprint() == second


#: Arguments of small denoisers of deepinv by class name, and whether they use sigma.
SMALL = {
    "DRUNet": ({"nc": [4, 8, 16, 32], "nb": 1}, True),
    "DnCNN": ({"depth": 3, "nf": 8}, False),
    "GSDRUNet": ({"nc": [4, 8, 16, 32], "nb": 1}, True),
    "NCSNpp": ({"model_channels": 32, "channel_mult": [1, 1], "num_blocks": 1}, True),
    "Restormer": ({"dim": 8, "num_blocks": [1, 1, 1, 1]}, False),
    "SCUNet": ({"config": [1, 1, 1, 1, 1, 1, 1]}, False),
    "SwinIR": ({"embed_dim": 12, "depths": [1], "num_heads": [2]}, False),
    "UNet": ({"scales": 2}, False),
}


@pytest.mark.extras("deepinv")
@pytest.mark.parametrize("model", SMALL)
def test_a_denoiser_of_deepinv_gets_images_and_levels_unchanged(model, monkeypatch):
    def download(*arguments, **options):
        raise AssertionError(f"downloads {arguments}")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    arguments, uses_sigma = SMALL[model]
    shape, levels = (1, 32, 32), [torch.tensor([0.1, 0.3]), torch.tensor([0.1, 0.6])]
    network = untrained(Deepinv, shape, channels=1, model=model, arguments=arguments)
    # The last layers of some networks start at zero.
    for parameter in network.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.05)
    noisy = images(2, shape)
    first, second = (network(noisy, level).detach() for level in levels)
    torch.testing.assert_close(first, network.network(noisy, levels[0]).detach(), atol=1e-5, rtol=1e-4)
    assert torch.equal(first[:1], second[:1])
    assert torch.equal(first, second) != uses_sigma
    with torch.device("meta"):
        assert all(p.is_meta for p in Deepinv(1, shape, model, arguments).parameters())


@pytest.mark.extras("deepinv")
def test_the_jacobian_of_a_gradient_step_is_symmetric():
    noisy, sigma = images(1, (1, 32, 32)).double(), torch.tensor([0.1]).double()
    left, right = torch.randn(2, *noisy.shape, generator=torch.Generator().manual_seed(0)).double()
    for model, is_symmetric in (("GSDRUNet", True), ("DRUNet", False)):
        network = untrained(Deepinv, (1, 32, 32), channels=1, model=model, arguments=SMALL[model][0]).double()
        _, pull = torch.func.vjp(lambda y, network=network: network(y, sigma), noisy)
        first, second = (float((a * pull(b)[0]).sum().detach()) for a, b in ((right, left), (left, right)))
        assert (abs(first - second) < 1e-6 * (abs(first) + abs(second))) == is_symmetric


@pytest.mark.extras("deepinv")
@pytest.mark.parametrize(("model", "arguments", "message"), [
    ("DnCN", {}, "model=DnCN.*accepted: ADMUNet, "),
    ("MoDL", {}, "not a denoiser"),
    ("DnCNN", {"dept": 3}, "'dept'; accepted: .*depth"),
])  # fmt: skip
def test_names_and_arguments_that_deepinv_lacks_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        Deepinv(1, None, model, arguments)


TINY = {"levels": 2, "width": 4}
PRETRAINED = {"backbone": "resnet10t", "pretrained": True, **TINY}


@pytest.mark.parametrize(("backbone", "stride"), [
    ("resnet10t", 4),
    ("convnext_atto", 8),
    ("tf_efficientnetv2_b0", 4),
    ("pvt_v2_b0", 8),
    ("swin_tiny_patch4_window7_224", 8),
])  # fmt: skip
def test_backbones_denoise_images_of_any_size(backbone, stride):
    shape = (1, 35, 22)
    network = untrained(TimmUNet, shape, channels=1, backbone=backbone, **TINY)
    noisy, sigma = images(2, shape), torch.full((2,), 0.1)
    denoised = network(noisy, sigma)
    assert denoised.shape == noisy.shape
    assert (denoised - noisy).abs().max() < 0.1
    assert network.encoder.feature_info.reduction()[-1] == stride
    (network.train()(noisy, sigma) - 0.5).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.joins.parameters())


def test_images_are_normalised_for_the_backbone():
    colour, grey = (TimmUNet(channels, backbone="mobilenetv3_small_050", **TINY) for channels in (3, 1))
    assert colour.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert float(grey.deviation) == pytest.approx((0.229 + 0.224 + 0.225) / 3)


def test_a_backbone_of_a_fixed_size_needs_the_shape():
    with pytest.raises(ValueError, match="needs the shape of the images"):
        TimmUNet(1, backbone="swin_tiny_patch4_window7_224")


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """Empty caches of the Hugging Face hub and of torch, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


def test_weights_are_downloaded_only_on_request(caches):
    """Offline only the network with pretrained weights fails; on the meta device nothing is loaded."""
    TimmUNet(1, backbone="resnet10t", **TINY)
    folder = re.escape(str(caches / "hub" / "models--timm--resnet10t.c3_in1k"))
    for make in (TimmUNet.prepare, functools.partial(TimmUNet, 1)):
        with pytest.raises(ValueError, match=f"from https://huggingface.co/timm/resnet10t.c3_in1k into {folder}"):
            make(**PRETRAINED)
    with torch.device("meta"):
        TimmUNet(1, **PRETRAINED)


def put_into_hub_cache(folder, repository, file, content=b""):
    """Put a file into the cache of the hub, in its layout."""
    cache, commit = folder / "hub" / f"models--timm--{repository}", "0" * 40
    for path, written in (("refs/main", commit.encode()), (f"snapshots/{commit}/{file}", content)):
        (cache / path).parent.mkdir(parents=True)
        (cache / path).write_bytes(written)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_the_hub_are_missing_until_they_are_cached(caches, file):
    assert len(TimmUNet.missing("resnet10t", pretrained=True)) == 1
    assert TimmUNet.missing("resnet10t", pretrained=False) == ()
    assert not (caches / "hub").exists()
    put_into_hub_cache(caches, "resnet10t.c3_in1k", file)
    assert TimmUNet.missing("resnet10t", pretrained=True) == ()
    # Other weights of the same network are in a different file.
    with pytest.raises(ValueError, match=r"accepted tags: c3_in1k"):
        TimmUNet.missing("resnet10t.other", pretrained=True)


def test_weights_of_other_urls_are_found_in_the_cache_of_torch(caches):
    (text,) = TimmUNet.missing("legacy_seresnet18", pretrained=True)
    file = caches / "torch" / "checkpoints" / "seresnet18-4bb0ce65.pth"
    assert text.endswith(f"v0.1-weights/seresnet18-4bb0ce65.pth into {file}")
    file.parent.mkdir(parents=True)
    file.touch()
    assert TimmUNet.missing("legacy_seresnet18", pretrained=True) == ()


def test_prepared_weights_are_used_by_the_network(caches, monkeypatch):
    """The stand-in for the download writes a file to the cache, from which the network is then built offline."""
    network, calls = timm_unet.create_model("resnet10t"), []

    def create(name, pretrained, **options):
        calls.append((name, pretrained))
        put_into_hub_cache(caches, "resnet10t.c3_in1k", "model.safetensors", save(network.state_dict()))

    with monkeypatch.context() as patch:
        patch.setattr(timm_unet, "create_model", create)
        for pretrained in (True, True, False):
            TimmUNet.prepare(**PRETRAINED | {"pretrained": pretrained})
    assert calls == [("resnet10t", True)]
    built = TimmUNet(3, **PRETRAINED)
    assert torch.equal(built.encoder.conv1[0].weight, network.conv1[0].weight)
