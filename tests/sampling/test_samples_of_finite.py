"""With the exact optimum of a finite set of images, samples are members of the set, all with equal probability."""

import pytest
import torch

import gahbench
from gahbench.sampling import Sampling, draw_samples, wrap_denoiser

MEMBERS = 8
FINITE = gahbench.create("dataset", "finite", dataset="discs[size=12]", count=MEMBERS)


def draw(**settings):
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
    samples = draw(sampler=sampler, count=40)
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
