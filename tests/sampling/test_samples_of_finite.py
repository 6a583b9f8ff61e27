"""A finite set of images, through its exact optimum: nothing else is ever drawn, and each as often as any other."""

import pytest
import torch

import gahbench
from gahbench.sampling import Sampling, draw_samples, of_denoiser

MEMBERS = 8
FINITE = gahbench.create("dataset", "finite", dataset="discs[size=12]", count=MEMBERS)


def draw(**settings):
    denoise = of_denoiser(gahbench.create("reference", "optimal"), FINITE.shape, FINITE)
    return draw_samples(denoise, FINITE.shape, Sampling(**settings))


def distances(samples):
    return (samples.images[:, None] - FINITE.members).flatten(2).norm(dim=2).sort(1)


def posterior_mean(noisy, sigma):
    """The best denoiser, written out for a noise level each."""
    squares = (noisy[:, None] - FINITE.members).double().flatten(2).square().sum(2)
    weights = torch.softmax(-squares / (2 * sigma.double()[:, None] ** 2), dim=1)
    return torch.einsum("nm,mchw->nchw", weights, FINITE.members.double()).float()


@pytest.mark.parametrize("sampler", ["stochastic", "flow"])
def test_samples_are_members(sampler):
    """By the memorization ratio of Carlini et al. 2023: nearest over second nearest below 1/3."""
    samples = draw(sampler=sampler, count=40)
    near = distances(samples).values
    assert float((near[:, 0] < near[:, 1] / 3).double().mean()) == 1
    # Not just near: the posterior of a converged sample is one member.
    assert float(near[:, 0].median()) < 1e-3
    assert samples.status == ("converged",) * 40


@pytest.mark.parametrize(
    "rule", [{"sampler": "flow", "levels": 60}, {"step": 0.2, "growth": "constant"}], ids=["flow", "stochastic"]
)
def test_from_much_noise_each_member_is_as_likely_as_any_other(rule):
    """Starting where the noise hides which member it is; from sigma_start = 1 those near the mean grey are likelier."""
    count = 240
    samples = draw_samples(posterior_mean, FINITE.shape, Sampling(count=count, sigma_start=30.0, seed=2, **rule))
    drawn = torch.bincount(distances(samples).indices[:, 0], minlength=MEMBERS)
    chi_square = float((drawn - count / MEMBERS).square().sum() / (count / MEMBERS))
    # The 99.9 % quantile for 7 degrees of freedom.
    assert chi_square < 24.3, drawn.tolist()
