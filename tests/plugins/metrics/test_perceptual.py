"""LPIPS and DISTS of pyiqa with random weights, without published values."""

from unittest.mock import Mock

import pytest
import torch
from known_filters import random_images
from pyiqa_weights import draw_weights
from tiny_runs import plan_suite
from torch.nn import functional

import gahbench
from gahbench.evaluation import Evaluation
from gahbench_plugins.references.identity import Identity

pytestmark = [pytest.mark.extras("pyiqa"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def metric(tmp_path, monkeypatch):
    """Return a metric with weights in a temporary folder of torch.hub."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))

    def make(spec):
        draw_weights(spec, monkeypatch)
        return gahbench.create("metric", spec)

    return make


def scores(metric, clean, *sigmas):
    result = metric.score(Evaluation(Identity(), clean, list(sigmas)))
    return torch.tensor(result.value).view(len(sigmas), len(clean))


def images(channels, side=32):
    return random_images(2, channels, side, side, seed=1)


def test_lpips_is_its_definition_on_the_features_of_alexnet(metric):
    lpips = metric("lpips")
    backbone, top = (torch.load(file, weights_only=True) for file in lpips.files)
    clean = images(3)
    noisy = Evaluation(Identity(), clean, [0.2]).noisy(0.2).clamp(0, 1)
    shift, scale = (torch.tensor(three).view(3, 1, 1) for three in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    pair = [(2 * images - 1 - shift) / scale for images in (noisy, clean)]
    # Zhang et al. 2018, eq. 1: index, weight name, stride and padding of convolutions of AlexNet, and its poolings.
    expected = torch.zeros(2)
    for layer, (index, stride, padding, pools) in enumerate(
        ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
    ):
        weight, bias = backbone[f"features.{index}.weight"], backbone[f"features.{index}.bias"]
        pair = [functional.max_pool2d(features, 3, 2) if pools else features for features in pair]
        pair = [functional.conv2d(features, weight, bias, stride, padding).relu() for features in pair]
        first, second = (features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10) for features in pair)
        expected += (top[f"lin{layer}.model.1.weight"] * (first - second).square()).sum(1).mean((1, 2))
    assert scores(lpips, clean, 0.2)[0].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_missing_and_changed_weights_are_named(tmp_path, monkeypatch, write_suite):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    lpips = gahbench.create("metric", "lpips")
    assert len(lpips.missing()) == 2
    suite = write_suite(("metrics: [psnr, slope]", "metrics: [psnr, lpips]"), ("size: 16", "size: 32"))
    with pytest.raises(gahbench.DataError, match=r"alexnet-owt-7be5be79\.pth.*gahbench prepare"):
        plan_suite(suite)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", Mock(side_effect=OSError("no network")))
    with pytest.raises(gahbench.DataError, match=r"cannot be downloaded to .*no network"):
        lpips.prepare()
    for file in lpips.files:
        file.parent.mkdir()
        file.write_bytes(b"other weights")
    with pytest.raises(gahbench.DataError, match=r"alexnet-owt-7be5be79\.pth: the SHA-256 begins with .*remove it"):
        lpips.fingerprint()
