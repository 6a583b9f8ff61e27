import math

import pytest
import torch
from known_filters import Filters, evaluation, on_images, random_images, table

from gahbench.contracts.references import Reference
from gahbench.jacobian import DenseMaps, FunctionMaps


def psnr(denoised, clean):
    return -10 * math.log10(float((denoised.double() - clean.double()).square().mean()))


@pytest.mark.parametrize("name", ["low-pass", "gaussian-blur", "wiener-linear", "identity", "untrained[linear]"])
def test_linear_denoisers_gain_nothing(name):
    parts = table("adaptation", evaluation(name, "c-alpha[size=8]", (0.05, 0.3)))
    assert set(parts) == {(part, sigma) for part in ("", "gain", "sensitivity") for sigma in (0.05, 0.3)}
    assert all(values.abs().max() < 1e-3 for values in parts.values())


class Products(Reference):
    """The half square of every pixel, whose filter multiplies by the noisy image."""

    def denoise(self, noisy, sigma, truth):
        return noisy.square() / 2

    def jacobian(self, noisy, sigma, truth):
        rows = noisy.flatten(1)[:, None]
        return FunctionMaps(
            lambda vectors, places: vectors * rows[list(places)], len(noisy), tuple(noisy.shape[1:]), noisy
        )


@pytest.mark.parametrize("size", [2304, 10])
def test_it_is_the_gain_over_the_filters_of_others_less_the_sensitivity_to_noise(monkeypatch, size):
    """By hand, for filters that follow image and noise; of four images, three others are all others."""
    monkeypatch.setattr("gahbench.jacobian.maps.LARGEST_EXACT", size)
    clean = random_images(4, 2, 4, 3)
    evaluated = on_images(Products(), clean)
    parts = table("adaptation", evaluated)
    noisy, fresh = evaluated.noisy(0.1), evaluated.noisy(0.1, draw=1)
    assert not torch.equal(noisy, fresh)
    for place in range(4):
        own = psnr(noisy[place] ** 2, clean[place])
        again = psnr(fresh[place] * noisy[place], clean[place])
        others = [psnr(noisy[other] * noisy[place], clean[place]) for other in range(4) if other != place]
        mean = sum(others) / 3
        assert parts["gain", 0.1][place].item() == pytest.approx(own - mean, abs=1e-4)
        assert parts["sensitivity", 0.1][place].item() == pytest.approx(own - again, abs=1e-4)
        assert parts["", 0.1][place].item() == pytest.approx(again - mean, abs=1e-4)


def test_the_genie_gains_and_is_not_sensitive_to_noise():
    parts = table("adaptation", evaluation("lower-bound", "c-alpha[size=12]", (0.05,)))
    assert parts["", 0.05].mean() > 2
    assert parts["sensitivity", 0.05].abs().max() < 1e-3
    torch.testing.assert_close(parts["", 0.05], parts["gain", 0.05], atol=1e-3, rtol=0)


def test_a_filter_that_follows_the_noise_alone_gains_nothing_after_its_sensitivity():
    class Follower(Filters):
        """Projects on the noisy image: all of it is kept, none of it under another's filter or under fresh noise."""

        def jacobian(self, noisy, sigma, truth):
            unit = noisy.flatten(1) / noisy.flatten(1).norm(dim=1, keepdim=True)
            return DenseMaps(unit[:, :, None] * unit[:, None], tuple(noisy.shape[1:]))

    # Faint images under strong noise: the filter is made of noise.
    parts = table("adaptation", on_images(Follower(torch.eye(256)[None]), 1e-3 * random_images(6, 1, 16, 16), (1.0,)))
    assert parts["sensitivity", 1.0].abs().min() > 3
    # Both gains are those of a filter by unrelated noise: they differ by chance, as much as projections on it do.
    spread = parts["", 1.0].std() / 6**0.5
    assert parts["", 1.0].mean().abs() < 4 * spread
