"""For Gaussian fields, whose optimal denoiser is linear, samples have a distribution in closed form."""

import math

import pytest
import torch

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.sampling import Sampling, draw_path_points, draw_samples, wrap_denoiser
from gahbench.sampling.drawing import starting_noise
from gahbench_plugins.datasets.gaussian_field import hartley

FIELD = gahbench.create("dataset", "gaussian-field", size=8, std=0.2)
SPECTRUM = FIELD.spectrum()
DENOISE = wrap_denoiser(gahbench.create("reference", "optimal"), FIELD.shape, FIELD)


def draw(count, **settings):
    return draw_samples(DENOISE, FIELD.shape, Sampling(count=count, **settings))


def coefficients(images):
    """Return the Hartley coefficients of images less their mean, shape (N, 8, 8), which are independent."""
    return hartley(images.double() - 0.5)[:, 0]


def exact_gain(start, end, final_step):
    """Return the factor by which the flow dy / d sigma = sigma y / (e + sigma^2) multiplies each coefficient."""
    gain = ((SPECTRUM + end**2) / (SPECTRUM + start**2)).sqrt()
    return gain * SPECTRUM / (SPECTRUM + end**2) if final_step else gain


@pytest.mark.parametrize("final_step", [True, False])
def test_the_flow_solves_its_differential_equation(final_step):
    drawn = draw(8, sampler="flow", sigma_start=4.0, sigma_end=0.01, levels=400, final_step=final_step)
    white = coefficients(0.5 + starting_noise(8, FIELD.shape))
    expected = 4.0 * exact_gain(4.0, 0.01, final_step) * white
    # The error is of second order, (log 400 / 400)^2 for 400 levels over a factor of 400.
    assert float((coefficients(drawn.images) - expected).abs().max()) < 1e-3
    assert drawn.status == ("converged",) * 8
    assert drawn.steps.tolist() == [399] * 8


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_error_of_a_solver_has_its_order(solver, order):
    white = coefficients(0.5 + starting_noise(4, FIELD.shape))
    expected = exact_gain(1.0, 0.1, False) * white

    def error(levels):
        drawn = draw(4, sampler="flow", sigma_end=0.1, levels=levels, solver=solver, final_step=False)
        return float((coefficients(drawn.images) - expected).norm())

    # Steps of a quarter of the size have a quarter, or a sixteenth, of the error.
    assert error(33) / error(129) == pytest.approx(4**order, rel=0.2)


def test_the_points_of_a_path_solve_its_differential_equation():
    settings = Sampling(count=8, sampler="flow", sigma_start=4.0, sigma_end=0.01, levels=400)
    sigmas = [4.0, 0.3, 1.0]
    points = draw_path_points(DENOISE, FIELD.shape, settings, sigmas)
    white = coefficients(0.5 + starting_noise(8, FIELD.shape))
    for sigma, images in zip(sigmas, points, strict=True):
        assert float((coefficients(images) - 4.0 * exact_gain(4.0, sigma, False) * white).abs().max()) < 1e-3


def test_the_last_point_of_a_path_is_the_sample_without_its_final_denoising():
    settings = Sampling(count=5, sampler="flow", sigma_start=2.0, sigma_end=0.1, levels=9, final_step=False)
    (points,) = draw_path_points(DENOISE, FIELD.shape, settings, [0.1])
    assert torch.equal(points, draw_samples(DENOISE, FIELD.shape, settings).images)


def test_paths_that_diverge_have_no_points_beyond():
    settings = Sampling(count=3, sampler="flow", sigma_start=2.0, sigma_end=0.1, levels=9)
    points = draw_path_points(lambda noisy, sigma: -100 * noisy, FIELD.shape, settings, [2.0, 0.1])
    assert points[0].isfinite().all()
    assert points[1].isnan().all()


def test_points_beyond_the_flow_are_refused():
    flow = Sampling(sampler="flow", sigma_start=2.0)
    for sigmas in ([], [3.0], [0.01]):
        with pytest.raises(ParameterError, match=r"accepted: one or more noise levels from sigma_end=0.05 to .*=2"):
            draw_path_points(DENOISE, FIELD.shape, flow, sigmas)
    with pytest.raises(ParameterError, match="sampler=stochastic; accepted: flow"):
        draw_path_points(DENOISE, FIELD.shape, Sampling(), [0.1])


LARGE = gahbench.create("dataset", "gaussian-field", size=32).spectrum()
OCTAVES = [(1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 0.1), (0.1, 100)]


def wiener(noisy, sigma):
    """Denoise the large fields optimally, with a noise level for each image."""
    weights = LARGE / (LARGE + sigma.double()[:, None, None, None] ** 2)
    return (0.5 + hartley(weights * hartley(noisy.double() - 0.5))).float()


def stochastic_spectrum(settings):
    """Return the variance of each coefficient of samples of the stochastic sampler, in the limit of high dimension.

    With s the noise level measured at the previous step, a coefficient of variance e follows the recursion
    y <- (1 - h s^2 / (e + s^2)) y + gamma z. In high dimension |f(y) - y|^2 / d equals its mean, the next s^2.
    """
    variance, level = torch.full_like(LARGE, settings.sigma_start**2), settings.sigma_start
    for number in range(1, settings.step_limit() + 1):
        residual_share = level**2 / (LARGE + level**2)
        sigma = math.sqrt(float((residual_share.square() * variance).mean()))
        if sigma <= settings.sigma_end:
            return (1 - residual_share).square() * variance
        h = settings.step_size(number)
        gamma = ((1 - settings.beta * h) ** 2 - (1 - h) ** 2) * sigma**2
        variance, level = (1 - h * residual_share).square() * variance + gamma, sigma
    raise AssertionError("the recursion does not converge")


def octave(energies):
    return torch.stack([energies[LARGE.gt(low) & LARGE.le(high)].sum() for low, high in OCTAVES])


@pytest.mark.parametrize(
    "variant", [{}, {"step": 0.1, "growth": "constant"}, {"beta": 0.5, "step": 0.02}, {"beta": 1.0}], ids=str
)
def test_the_stochastic_sampler_follows_its_recursion(variant):
    settings = Sampling(count=150, seed=5, **variant)
    drawn = draw_samples(wiener, (1, 32, 32), settings)
    assert bool(drawn.converged.all())
    energies = hartley(drawn.images.double() - 0.5)[:, 0].square()
    energy, expected = octave(energies.mean(0)), octave(stochastic_spectrum(settings))
    error = torch.stack([octave(sample) for sample in energies]).std(0) / len(energies) ** 0.5
    # 1024 dimensions leave a relative error of a few hundredths.
    assert bool(((energy - expected).abs() < 4 * error + 0.03 * expected).all()), (energy / expected, error / expected)


def test_the_variance_of_stochastic_samples_is_as_documented():
    """The shares of the variance agree with the docstring of the sampler."""

    def share(**settings):
        return float(stochastic_spectrum(Sampling(**settings)).sum() / LARGE.sum())

    assert share() == pytest.approx(0.74, abs=0.01)
    assert share(growth="constant") == pytest.approx(0.91, abs=0.01)
    assert share(growth="constant", beta=0.01) == pytest.approx(1.01, abs=0.01)


def test_the_variance_of_flow_samples_is_as_documented():
    def share(start):
        gain = ((LARGE + 0.05**2) / (LARGE + start**2)).sqrt() * LARGE / (LARGE + 0.05**2)
        return float((start * gain).square().sum() / LARGE.sum())

    assert share(1.0) == pytest.approx(0.28, abs=0.01)
    assert share(10.0) == pytest.approx(0.96, abs=0.01)
