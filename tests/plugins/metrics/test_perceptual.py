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
        draw_weights(spec, tmp_path, monkeypatch)
        return gahbench.create("metric", spec)

    return make


def scores(metric, clean, *sigmas):
    result = metric.score(Evaluation(Identity(), clean, list(sigmas)))
    return torch.tensor(result.value).view(len(sigmas), len(clean))


def images(channels, side=32):
    return random_images(2, channels, side, side, seed=1)


def test_lpips_is_its_definition_on_the_features_of_alexnet(metric, tmp_path):
    lpips = metric("lpips")
    backbone, top = (torch.load(file.path, weights_only=True) for file in lpips.files)
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


@pytest.mark.parametrize("spec", ["lpips[vgg,version=0.0]", "dists"])
def test_distances_are_zero_for_equal_images_and_grow_with_the_noise(metric, spec):
    distance = metric(spec)
    few, much = scores(distance, 0.25 + images(3) / 2, 1e-6, 0.2)
    assert few.abs().max() < 1e-3 * much.min()


@pytest.mark.parametrize("spec", ["lpips", "dists"])
def test_grey_images_have_the_scores_of_three_equal_channels(metric, spec):
    distance = metric(spec)

    def measure(noisy, clean):
        class Constant(gahbench.Reference):
            def denoise(self, noisy_, sigma, truth):
                return noisy

        return torch.tensor(distance.score(Evaluation(Constant(), clean, [0.1])).value)

    clean, noisy = images(1), images(1).flip(0)
    expected = measure(noisy.expand(-1, 3, -1, -1), clean.expand(-1, 3, -1, -1))
    torch.testing.assert_close(measure(noisy, clean), expected)
    # Values outside [0, 1] are clipped.
    torch.testing.assert_close(measure(3 * noisy - 1, clean), measure((3 * noisy - 1).clamp(0, 1), clean))


@pytest.mark.parametrize("spec", ["lpips", "lpips[vgg]", "dists"])
def test_the_smallest_side_is_the_smallest_that_the_network_takes(metric, spec):
    distance = metric(spec)
    side = distance.min_side
    assert scores(distance, images(1, side=side), 0.1).isfinite().all()
    with pytest.raises(ValueError, match=f"at least {side} pixels, not {side - 1}x{side - 1}"):
        distance.check((1, side - 1, side - 1), (0.1,))
    if spec != "dists":  # Its poolings accept images of any size, but smaller images lose all structure.
        small = images(3, side=side - 1)
        with pytest.raises(RuntimeError, match="too small"):
            distance._loaded(small, small)


@pytest.mark.parametrize("name", ["lpips", "lpips-vgg", "dists"])
def test_the_direction_agrees_with_pyiqa(name):
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    stated, metric = DEFAULT_CONFIGS[name], gahbench.Registry().get("metric", name.partition("-")[0]).factory
    assert (stated["metric_mode"], stated["lower_better"]) == ("FR", not metric.higher_is_better)


def test_missing_weights_are_named_and_not_downloaded(tmp_path, monkeypatch, write_suite):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    lpips = gahbench.create("metric", "lpips")
    assert len(lpips.missing()) == 2
    suite = write_suite(("metrics: [psnr, slope]", "metrics: [psnr, lpips]"), ("size: 16", "size: 32"))
    with pytest.raises(gahbench.DataError, match=r"AlexNet of torchvision.*gahbench prepare"):
        plan_suite(suite)
    monkeypatch.setattr(torch.hub, "download_url_to_file", Mock(side_effect=OSError("no network")))
    with pytest.raises(gahbench.DataError, match=r"cannot be downloaded from https://download\.pytorch\.org/.*by hand"):
        lpips.prepare()
