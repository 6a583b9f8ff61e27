"""Properties of samples from any denoiser: seeds, batches, noise levels, and the status of samples."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.sampling import Sampling, draw_samples, wrap_denoiser
from gahbench.sampling.drawing import starting_noise
from gahbench.sampling.settings import make_sampling

SHAPE = (1, 6, 5)
SAMPLERS = pytest.mark.parametrize("sampler", ["stochastic", "flow"])


def shrinking(noisy, sigma):
    """Denoise optimally images of white noise around 1/2 with standard deviation 0.2."""
    return 0.5 + (noisy - 0.5) * 0.04 / (0.04 + sigma[:, None, None, None] ** 2)


def test_starting_noise_is_white_and_independent_between_samples():
    noise = starting_noise(500, (2, 8, 8), seed=3)
    assert noise.shape == (500, 2, 8, 8)
    assert abs(float(noise.mean())) < 4 / math.sqrt(noise.numel())
    assert abs(float(noise.square().mean()) - 1) < 4 * math.sqrt(2 / noise.numel())
    correlations = noise[:64].flatten(1) @ noise[:64].flatten(1).mT / 128 - torch.eye(64)
    assert float(correlations.triu(1).abs().max()) < 5.5 / math.sqrt(128)
    assert torch.equal(starting_noise(10, (2, 8, 8), 3, first=100), noise[100:110])
    assert not torch.isclose(starting_noise(10, (2, 8, 8), 4), noise[:10]).all()


@SAMPLERS
def test_samples_start_from_the_starting_noise(sampler):
    settings = Sampling(sampler=sampler, count=3, seed=9, sigma_start=2.0, mean=0.25)
    drawn = draw_samples(lambda noisy, sigma: noisy * torch.nan, SHAPE, settings, batch=2)
    # Samples that diverge in the first step are the starting noise.
    torch.testing.assert_close(drawn.images, 0.25 + 2 * starting_noise(3, SHAPE, 9))
    assert drawn.status == ("diverged",) * 3
    assert drawn.steps.tolist() == [0] * 3
    assert bool(drawn.sigma.isnan().all())


@pytest.mark.parametrize(
    ("step", "beta", "growth"),
    [(0.1, 0.3, "growing"), (0.01, 0.1, "growing"), (0.1, 0.1, "constant"), (0.02, 0.5, "growing")],
)
def test_steps_follow_the_formula(step, beta, growth):
    """The sampler agrees with a loop over the steps of one image."""
    settings = Sampling(count=1, seed=6, step=step, beta=beta, growth=growth)
    drawn = draw_samples(shrinking, SHAPE, settings)
    source = gahbench.generator("noise", "samples", 6, "steps", 0)
    y, sigma, number = 0.5 + starting_noise(1, SHAPE, 6).double(), 1.0, 0
    while True:
        residual = (0.5 + (y - 0.5) * 0.04 / (0.04 + sigma**2)) - y
        sigma = float(residual.square().mean().sqrt())
        if sigma <= 0.05:
            break
        number += 1
        h = step * number / (1 + step * (number - 1)) if growth == "growing" else step
        z = torch.empty(SHAPE).normal_(generator=source)
        y = y + h * residual + math.sqrt((1 - beta * h) ** 2 - (1 - h) ** 2) * sigma * z.double()
    assert drawn.steps.tolist() == [number]
    torch.testing.assert_close(drawn.images.double(), y + residual, rtol=0, atol=1e-5)
    assert float(drawn.sigma[0]) == pytest.approx(sigma, rel=1e-4)


def test_a_reference_is_called_once_for_each_noise_level():
    calls = []

    class Shrink(gahbench.Reference):
        def denoise(self, noisy, sigma, truth):
            calls.append(len(noisy))
            # A practical denoiser receives neither the clean images nor the dataset.
            assert bool(truth.clean.isnan().all())
            assert truth.clean.shape == noisy.shape
            assert truth.dataset is None
            return shrinking(noisy, torch.full((len(noisy),), sigma))

    dataset = gahbench.create("dataset", "discs", size=8)
    settings = Sampling(count=5, sigma_end=0.1)
    drawn = draw_samples(wrap_denoiser(Shrink(), SHAPE, dataset), SHAPE, settings)
    torch.testing.assert_close(drawn.images, draw_samples(shrinking, SHAPE, settings).images)
    assert set(calls) == {1, 5}


def test_a_growing_residual_diverges_and_a_constant_residual_runs_out_of_steps():
    drawn = draw_samples(lambda noisy, sigma: 2.2 * noisy, SHAPE, Sampling(count=2, step=0.5))
    assert drawn.status == ("diverged",) * 2
    assert bool(((drawn.sigma > 4) & (drawn.sigma < 20) & (drawn.steps > 0)).all())
    drawn = draw_samples(lambda noisy, sigma: noisy + 0.3, SHAPE, Sampling(count=2, max_steps=7, beta=1.0))
    assert drawn.status == ("out of steps",) * 2
    assert drawn.steps.tolist() == [7, 7]
    assert drawn.sigma.tolist() == pytest.approx([0.3, 0.3])
    assert not bool(drawn.converged.any())


def test_wrong_shapes_arguments_and_denoisers_that_need_the_clean_image_are_rejected():
    for name in ("oracle-shrink", "lower-bound"):
        with pytest.raises(ParameterError, match="need the clean image, which samples do not have"):
            wrap_denoiser(gahbench.create("reference", name), SHAPE)
    with pytest.raises(ValueError, match=r"returned shape \(2, 1, 6, 1\) for images of \(2, 1, 6, 5\)"):
        draw_samples(lambda noisy, sigma: noisy[..., :1], SHAPE, Sampling(count=2))
    with pytest.raises(ParameterError, match=r"batch=0; accepted: 1, 2, \.\.\."):
        draw_samples(shrinking, SHAPE, batch=0)
    with pytest.raises(ParameterError, match=r"first=-1; accepted: 0, 1, \.\.\."):
        draw_samples(shrinking, SHAPE, first=-1)


def test_a_random_denoiser_is_reproducible_and_the_global_random_state_is_restored():
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def draw():
        random_denoiser = lambda noisy, sigma: shrinking(noisy, sigma) + 0.01 * torch.randn(noisy.shape)  # noqa: E731
        return draw_samples(random_denoiser, SHAPE, Sampling(count=2)).images

    assert torch.equal(draw(), draw())
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_do_not_import_torch():
    code = "import sys; from gahbench.sampling import Sampling; Sampling(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


VARIANTS = {
    "stochastic": {},
    "without the final step": {"final_step": False},
    "out of steps": {"max_steps": 40, "beta": 0.3},
    "heun": {"sampler": "flow", "levels": 13},
    "euler": {"sampler": "flow", "levels": 13, "solver": "euler"},
}


def failing(noisy, sigma):
    """Denoise like ``shrinking``, but fail in different ways if the first pixel comes near certain values."""
    first, denoised = noisy[:, :1, :1, :1], shrinking(noisy, sigma)
    for value, failure in ((0.9, torch.nan), (0.1, torch.inf), (0.3, -torch.inf), (0.7, 1e30)):
        denoised = torch.where((first - value).abs() < 0.01, failure, denoised)
    return denoised


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("denoise", [shrinking, failing])
def test_batches_change_neither_samples_nor_their_status_and_hold_no_invalid_values(denoise, variant):
    seen, sizes = [], []

    def watched(noisy, sigma):
        seen.append(bool(noisy.isfinite().all() and sigma.isfinite().all()))
        sizes.append(len(noisy))
        return denoise(noisy, sigma)

    settings = Sampling(count=30, seed=2, **VARIANTS[variant])
    expected, drawn = (draw_samples(watched, SHAPE, settings, first=3, batch=batch) for batch in (30, 7))
    assert all(seen)
    reports = []
    few = draw_samples(denoise, SHAPE, settings.model_copy(update={"count": 5}), first=9, progress=reports.append)
    torch.testing.assert_close(few.images, expected.images[6:11], rtol=0, atol=1e-5)
    assert (few.steps.tolist(), few.status) == (expected.steps[6:11].tolist(), expected.status[6:11])
    assert reports == sorted(reports)
    assert (reports[0] < 0.6, reports[-1]) == (True, pytest.approx(1))
    assert "converged" in expected.status
    assert ("diverged" in expected.status) == (denoise is failing)
    assert ("out of steps" in expected.status) == (variant == "out of steps" and denoise is shrinking)
    # Diverged images keep their last values, and do not affect others.
    assert bool(expected.images.isfinite().all())
    if denoise is failing:
        others = draw_samples(shrinking, SHAPE, settings, first=3).images
        torch.testing.assert_close(expected.images[expected.converged], others[expected.converged])
    torch.testing.assert_close(drawn.images, expected.images, rtol=0, atol=1e-5)
    torch.testing.assert_close(drawn.sigma, expected.sigma, rtol=1e-5, atol=1e-7, equal_nan=True)
    assert (drawn.steps.tolist(), drawn.status) == (expected.steps.tolist(), expected.status)
    if variant == "stochastic" and denoise is shrinking:
        # Finished images are not denoised again: each takes a call per step and a call for its last residual.
        assert sum(sizes) == 2 * int((drawn.steps + 1).sum())


def test_the_defaults_are_the_published_settings():
    """The settings are from Kadkhodaie & Simoncelli 2020, as used by Kadkhodaie et al. 2024."""
    settings = Sampling()
    assert (settings.sampler, settings.growth) == ("stochastic", "growing")
    assert (settings.step, settings.beta, settings.sigma_start, settings.sigma_end) == (0.01, 0.1, 1.0, 0.05)
    assert settings.step_size(1) == pytest.approx(0.01)
    assert settings.step_size(100) == pytest.approx(1 / 1.99)
    assert settings.step_limit() == 10 * settings.ideal_steps()


@given(
    step=st.floats(1e-3, 1), beta=st.floats(0.01, 1), growth=st.sampled_from(["growing", "constant"]),
    end=st.floats(0.01, 0.9),
)  # fmt: skip
def test_ideal_steps_is_the_smallest_number_that_reaches_sigma_end(step, beta, growth, end):
    settings = Sampling(step=step, beta=beta, growth=growth, sigma_end=end)
    steps = settings.ideal_steps()
    levels = [math.prod(1 - beta * settings.step_size(t) for t in range(1, n + 1)) for n in (steps - 1, steps)]
    assert levels[1] <= end * (1 + 1e-9)
    assert levels[0] >= end * (1 - 1e-9)
    assert all(0 < settings.step_size(number) <= 1 for number in (1, 2, 1000))


@given(start=st.floats(0.1, 100), ratio=st.floats(1e-4, 0.9), count=st.integers(2, 60))
def test_noise_levels_are_geometric(start, ratio, count):
    levels = Sampling(sampler="flow", sigma_start=start, sigma_end=start * ratio, levels=count).schedule()
    assert len(levels) == count
    assert (levels[0], levels[-1]) == (start, start * ratio)
    steps = [after / before for before, after in itertools.pairwise(levels)]
    assert steps == pytest.approx([ratio ** (1 / (count - 1))] * (count - 1))


BAD = {
    "unknown": ({"bta": 0.1}, "unknown sampling setting 'bta'; did you mean 'beta'? accepted: sampler, count, seed"),
    "text": ({"seed": "1"}, "seed='1': input should be a valid integer"),
    "not a number": ({"sigma_start": math.nan}, "sigma_start=nan: input should be"),
    "upwards": ({"sigma_end": 1.0}, "sigma_end=1 must be below sigma_start=1"),
    "setting of the other sampler": (
        {"sampler": "flow", "beta": 0.2},
        "beta belongs to the stochastic sampler; accepted by flow: levels, solver",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_settings_are_rejected(case):
    fields, message = BAD[case]
    with pytest.raises(ParameterError) as error:
        make_sampling(fields)
    assert message in str(error.value)
    with pytest.raises(ValidationError):
        Sampling(**fields)
