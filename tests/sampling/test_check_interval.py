"""Samplers look only now and then which images have finished: samples do not depend on when."""

import functools

import pytest
import torch

from gahbench.sampling import Sampling
from gahbench.sampling.flow import flow
from gahbench.sampling.stochastic import stochastic

SHAPE = (1, 6, 5)
RULES = {
    "stochastic": {},
    "without the final step": {"final_step": False},
    "out of steps": {"max_steps": 40, "beta": 0.3},
    "heun": {"sampler": "flow", "levels": 13},
    "euler": {"sampler": "flow", "levels": 13, "solver": "euler"},
}


def shrinking(noisy, sigma):
    """The best denoiser of white images around 1/2 of standard deviation 0.2."""
    return 0.5 + (noisy - 0.5) * 0.04 / (0.04 + sigma[:, None, None, None] ** 2)


def failing(noisy, sigma):
    """The same, but for images that come near a value, which become NaN or infinite."""
    first = noisy[:, :1, :1, :1]
    denoised = torch.where((first - 0.9).abs() < 0.03, torch.nan, shrinking(noisy, sigma))
    return torch.where((first - 0.1).abs() < 0.03, torch.inf, denoised)


def draw(denoise, settings, every, batch, report=lambda share, finished: None):
    sampler = flow if settings.sampler == "flow" else stochastic
    device = torch.device("cpu")
    return sampler(denoise, SHAPE, settings, first=3, batch=batch, every=every, device=device, progress=report)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("denoise", [shrinking, failing])
def test_samples_are_the_same_whenever_and_in_whatever_batch_they_are_checked(denoise, rule):
    settings = Sampling(count=30, seed=2, **RULES[rule])
    one = draw(denoise, settings, every=1, batch=30)
    assert "converged" in one.status
    assert ("diverged" in one.status) == (denoise is failing)
    assert ("out of steps" in one.status) == (rule == "out of steps" and denoise is shrinking)
    for every, batch in ((2, 30), (8, 7), (1000, 4)):
        other = draw(denoise, settings, every, batch)
        torch.testing.assert_close(other.images, one.images, rtol=0, atol=1e-5)
        torch.testing.assert_close(other.sigma, one.sigma, rtol=1e-5, atol=1e-7, equal_nan=True)
        assert (other.steps.tolist(), other.status) == (one.steps.tolist(), one.status)


def test_a_check_refills_the_places_and_each_image_is_denoised_in_vain_for_less_than_an_interval():
    sizes = []

    def counted(noisy, sigma):
        sizes.append(len(noisy))
        return shrinking(noisy, sigma)

    settings, every = Sampling(count=50), 8
    drawn = draw(counted, settings, every, batch=8)
    # One call a step of each image, and one for the residual at its end, rounded up to whole intervals.
    assert sum(sizes) == sum(-(-(steps + 1) // every) * every for steps in drawn.steps.tolist())
    assert set(sizes[: sizes.index(7)]) == {8}


def test_images_that_have_ended_are_given_to_the_denoiser_as_they_are_and_never_with_what_broke_them():
    seen = []

    def watched(noisy, sigma):
        seen.append((noisy.clone(), sigma.clone()))
        return failing(noisy, sigma)

    for rule in ("stochastic", "heun"):
        seen.clear()
        drawn = draw(watched, Sampling(count=200, seed=2, **RULES[rule]), every=1000, batch=200)
        assert "diverged" in drawn.status
        assert all(bool(noisy.isfinite().all() and sigma.isfinite().all()) for noisy, sigma in seen)
        for place in (place for place, status in enumerate(drawn.status) if status == "diverged"):
            torch.testing.assert_close(seen[-1][0][place], drawn.images[place])


@pytest.mark.parametrize("rule", ["stochastic", "heun"])
def test_progress_is_reported_at_checks_and_reaches_the_whole(rule):
    reports = []
    settings = Sampling(count=7, **RULES[rule])
    run = functools.partial(draw, shrinking, settings, batch=3, report=lambda *report: reports.append(report))
    run(every=5)
    assert reports == sorted(reports)
    assert reports[-1] == (pytest.approx(1), 7)
    assert 0 < reports[0][0] < 0.5


@pytest.mark.parametrize("rule", RULES)
def test_between_checks_nothing_is_read(rule):
    """Tensors on the device ``meta`` have no values: reading one raises an error."""
    calls, settings = [], Sampling(count=4, **RULES[rule])

    def counted(noisy, sigma):
        calls.append(noisy.device.type)
        return shrinking(noisy, sigma)

    sampler = flow if settings.sampler == "flow" else stochastic
    with pytest.raises(NotImplementedError, match="meta"):
        sampler(
            counted,
            SHAPE,
            settings,
            first=0,
            batch=3,
            every=5,
            device=torch.device("meta"),
            progress=lambda *report: None,
        )
    # Heun's method denoises twice a step.
    assert calls == ["meta"] * (10 if rule == "heun" else 5)
