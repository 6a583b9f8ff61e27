import functools
import re

import pytest
import torch
from given_networks import build, images, untrained
from safetensors.torch import save

from gahbench_plugins.architectures import timm_unet
from gahbench_plugins.architectures.timm_unet import TimmUNet

TINY = {"levels": 2, "width": 4}
#: Backbones and their stride after two levels: ResNet, ConvNeXt, three efficient networks, RegNet, transformers.
BACKBONES = {
    "resnet10t": 4,
    "convnext_atto": 8,
    "tf_efficientnetv2_b0": 4,
    "efficientnet_lite0": 4,
    "regnetx_002": 4,
    "mobilenetv3_small_050": 4,
    "pvt_v2_b0": 8,
    "swin_tiny_patch4_window7_224": 8,
    "maxvit_nano_rw_256": 4,
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_denoise_images_of_any_size(backbone):
    shape = (1, 35, 22)
    network = untrained(TimmUNet, shape, channels=1, backbone=backbone, **TINY)
    noisy, sigma = images(2, shape), torch.full((2,), 0.1)
    denoised = network(noisy, sigma)
    assert denoised.shape == noisy.shape
    assert (denoised - noisy).abs().max() < 0.1
    assert network.encoder.feature_info.reduction()[-1] == BACKBONES[backbone]
    (network.train()(noisy, sigma) - 0.5).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.joins.parameters())


def test_details_bypass_the_coarse_features():
    """The residual of a pixel depends differently on the pixel itself than on its neighbour in the same coarse cell."""
    network = build(TimmUNet, (1, 32, 32), channels=1, backbone="convnext_atto", **TINY)
    noisy = images(1, (1, 32, 32)).requires_grad_()
    (gradient,) = torch.autograd.grad((noisy - network(noisy, torch.ones(1)))[0, 0, 16, 16], noisy)
    near = gradient[0, 0, 14:19, 14:19]
    far = gradient[0, 0, 24:29, 24:29]
    assert near.std() > 2 * far.std()


def test_images_are_normalised_for_the_backbone():
    colour = TimmUNet(3, backbone="mobilenetv3_small_050", **TINY)
    assert colour.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    grey = TimmUNet(1, backbone="mobilenetv3_small_050", **TINY)
    assert float(grey.deviation) == pytest.approx((0.229 + 0.224 + 0.225) / 3)


def test_a_backbone_without_features_or_shape_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="needs the shape of the images"):
        TimmUNet(1, backbone="swin_tiny_patch4_window7_224")

    def create(name, features_only, **options):
        raise RuntimeError("features_only not implemented for this model")

    monkeypatch.setattr(timm_unet, "create_model", create)
    with pytest.raises(ValueError, match=r"'resnet10t' cannot return features.*not implemented"):
        TimmUNet(1, backbone="resnet10t")


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
    cache_folder = re.escape(str(caches / "hub" / "models--timm--resnet10t.c3_in1k"))
    message = (
        f"cannot be downloaded from https://huggingface.co/timm/resnet10t.c3_in1k: .*; you may copy {cache_folder} from"
    )
    for make in (TimmUNet.prepare, functools.partial(TimmUNet, 1)):
        with pytest.raises(ValueError, match=message):
            make(backbone="resnet10t", pretrained=True, **TINY)
    with torch.device("meta"):
        TimmUNet(1, backbone="resnet10t", pretrained=True, **TINY)


def put_into_hub_cache(folder, repository, file, content=b""):
    """Put a file into the cache of the hub, in its layout."""
    cache, commit = folder / "hub" / f"models--timm--{repository}", "0" * 40
    for path, written in (("refs/main", commit.encode()), (f"snapshots/{commit}/{file}", content)):
        (cache / path).parent.mkdir(parents=True)
        (cache / path).write_bytes(written)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_the_hub_are_missing_until_they_are_cached(caches, file):
    (text,) = TimmUNet.missing("resnet10t", pretrained=True)
    assert text == (
        "weights of resnet10t, from https://huggingface.co/timm/resnet10t.c3_in1k into "
        f"{caches / 'hub' / 'models--timm--resnet10t.c3_in1k'}"
    )
    assert TimmUNet.missing("resnet10t", pretrained=False) == ()
    assert not (caches / "hub").exists()
    put_into_hub_cache(caches, "resnet10t.c3_in1k", file)
    assert TimmUNet.missing("resnet10t", pretrained=True) == ()
    # Other weights of the same network are in a different file.
    with pytest.raises(ValueError, match=r"no such weights; accepted tags: c3_in1k"):
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
    network = timm_unet.create_model("resnet10t")
    calls = []

    def create(name, pretrained, **options):
        calls.append((name, pretrained))
        put_into_hub_cache(caches, "resnet10t.c3_in1k", "model.safetensors", save(network.state_dict()))

    original = timm_unet.create_model
    monkeypatch.setattr(timm_unet, "create_model", create)
    parameters = {"backbone": "resnet10t", "pretrained": True, **TINY, "blind": True}
    TimmUNet.prepare(**parameters)
    TimmUNet.prepare(**parameters)
    TimmUNet.prepare(**{**parameters, "pretrained": False})
    assert calls == [("resnet10t", True)]
    monkeypatch.setattr(timm_unet, "create_model", original)
    built = TimmUNet(3, **parameters)
    assert torch.equal(built.encoder.conv1[0].weight, network.conv1[0].weight)
