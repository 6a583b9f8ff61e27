"""UNets whose encoder is a backbone of timm, and its weights in the caches."""

import functools
import re

import pytest
import torch
from given_networks import images, untrained
from safetensors.torch import save

from gahbench_plugins.architectures import timm_unet
from gahbench_plugins.architectures.timm_unet import TimmUNet

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
