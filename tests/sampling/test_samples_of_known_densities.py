"""Samples of Gaussian fields and of finite sets, whose optimal denoisers and densities have closed forms."""

import math

import pytest
import torch

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.sampling import Sampling, draw_path_points, draw_samples, wrap_denoiser
from gahbench.sampling.drawing import starting_noise
from gahbench_plugins.datasets.gaussian import hartley

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
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_flow_solves_its_differential_equation_with_the_order_of_its_solver(solver, order, final_step):
    white = coefficients(0.5 + starting_noise(4, FIELD.shape))
    expected = exact_gain(1.0, 0.1, final_step) * white

    def error(levels):
        drawn = draw(4, sampler="flow", sigma_end=0.1, levels=levels, solver=solver, final_step=final_step)
        assert (drawn.status, drawn.steps.tolist()) == (("converged",) * 4, [levels - 1] * 4)
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


def test_the_variance_of_samples_is_as_documented():
    """The shares of the variance agree with the docstring of the samplers."""

    def flow_spectrum(start):
        gain = ((LARGE + 0.05**2) / (LARGE + start**2)).sqrt() * LARGE / (LARGE + 0.05**2)
        return (start * gain).square()

    stochastic = [Sampling(), Sampling(growth="constant"), Sampling(growth="constant", beta=0.01)]
    spectra = [*map(stochastic_spectrum, stochastic), *map(flow_spectrum, (1.0, 10.0))]
    shares = [float(spectrum.sum() / LARGE.sum()) for spectrum in spectra]
    assert shares == pytest.approx([0.74, 0.91, 1.01, 0.28, 0.96], abs=0.01)


MEMBERS = 8
FINITE = gahbench.create("dataset", "finite", dataset="discs[size=12]", count=MEMBERS)


def draw_members(**settings):
    denoise = wrap_denoiser(gahbench.create("reference", "optimal"), FINITE.shape, FINITE)
    return draw_samples(denoise, FINITE.shape, Sampling(**settings))


def distances(samples):
    return (samples.images[:, None] - FINITE.members).flatten(2).norm(dim=2).sort(1)


def posterior_mean(noisy, sigma):
    """Return the exact posterior mean, with a noise level for each image."""
    squares = (noisy[:, None] - FINITE.members).double().flatten(2).square().sum(2)
    weights = torch.softmax(-squares / (2 * sigma.double()[:, None] ** 2), dim=1)
    return torch.einsum("nm,mchw->nchw", weights, FINITE.members.double()).float()


@pytest.mark.parametrize("sampler", ["stochastic", "flow"])
def test_samples_are_members(sampler):
    """The criterion is the memorization ratio of Carlini et al. 2023, nearest over second nearest below 1/3."""
    samples = draw_members(sampler=sampler, count=40)
    sorted_distances = distances(samples).values
    assert float((sorted_distances[:, 0] < sorted_distances[:, 1] / 3).double().mean()) == 1
    # The posterior of a converged sample is a single member.
    assert float(sorted_distances[:, 0].median()) < 1e-3
    assert samples.status == ("converged",) * 40


@pytest.mark.parametrize(
    "variant", [{"sampler": "flow", "levels": 60}, {"step": 0.2, "growth": "constant"}], ids=["flow", "stochastic"]
)
def test_all_members_are_equally_likely_from_a_large_sigma_start(variant):
    """The starting noise must hide all members; from sigma_start = 1, members near the mean grey are likelier."""
    count = 240
    samples = draw_samples(posterior_mean, FINITE.shape, Sampling(count=count, sigma_start=30.0, seed=2, **variant))
    drawn = torch.bincount(distances(samples).indices[:, 0], minlength=MEMBERS)
    chi_square = float((drawn - count / MEMBERS).square().sum() / (count / MEMBERS))
    # 24.3 is the 99.9 % quantile for 7 degrees of freedom.
    assert chi_square < 24.3, drawn.tolist()
