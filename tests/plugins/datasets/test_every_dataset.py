"""Datasets keep their contract with many parameters, and have the optima that they state."""

import numpy as np
import pytest
import torch
from random_images import normal

import gahbench
from gahbench._util.noise import BLOCK
from gahbench.contracts.datasets import SPLITS
from gahbench.registry.registry import Registry
from gahbench.testing import check_configured


def create(spec, **parameters):
    return gahbench.create("dataset", spec, **parameters)


SPECS = [
    "c-alpha[size=8]",
    "c-alpha[size=8,contour=closed]",
    "c-alpha[size=8,contour=disc,background_alpha=flat,render_size=16]",
    "c-alpha[size=8,construction=paper]",
    "gaussian-field[size=8,colour=rgb]",
    "gaussian-faces[faces=faces[size=8]]",
    "sinusoids[size=9,rows=-3,columns=0]",
    "rays[discs[size=8],index=3]",
    "rays[gaussian-field[size=8,colour=rgb]]",
    "faces[size=8,split=random]",
    "photos[size=32,colour=rgb]",
    "finite[faces[size=8],count=1]",
    "shuffled[gaussian-field[size=8]]",
    "shuffled[c-alpha[size=8,construction=paper]]",
    "shuffled[faces[size=8]]",
    "shuffled[shuffled[finite[faces[size=8],count=4]]]",
    "simulated-captures[size=64,colour=rgb]",
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_example_keeps_its_contract(spec):
    report = check_configured(Registry().configure("dataset", spec))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("spec", "kind", "slope"),
    [
        ("c-alpha[4]", "bracket", 0.8),
        ("c-alpha[4,background_alpha=1]", "bracket", 0.5),
        ("c-alpha[2,background_alpha=5]", "bracket", 2 / 3),
        ("c-alpha[2,contour=disc,background_alpha=flat]", "bracket", 1),
        ("c-alpha[2,construction=paper]", "rate", 2 / 3),
        ("gaussian-field[0.5]", "exact", 1 / 3),
        ("gaussian-faces", "exact", None),
        ("finite", "exact", None),
        ("discs", "exact", 1),
        ("rays", "exact", 1),
        ("sinusoids", "exact", 1),
        ("shuffled[gaussian-field[0.5]]", "exact", 1 / 3),
        ("photos", "none", None),
    ],
)
def test_datasets_state_their_optimum(spec, kind, slope):
    optimum = create(spec).optimum
    assert (optimum.kind, optimum.slope) == (kind, slope if slope is None else pytest.approx(slope))


def noisy_images(dataset, sigma, count=3, start=0):
    clean = dataset.images("test", count, start).double()
    return clean + sigma * normal(*clean.shape, seed=1)


@pytest.mark.parametrize("sigma", [0.03, 0.2])
@pytest.mark.parametrize(
    "spec",
    [
        "gaussian-field[size=9]",
        "gaussian-field[size=8,colour=rgb]",
        "gaussian-faces[faces=faces[size=8]]",
        "c-alpha[size=12]",
        "c-alpha[size=12,contour=closed]",
        "shuffled[gaussian-field[size=8,colour=rgb]]",
        "shuffled[c-alpha[size=8]]",
    ],
)
def test_the_best_denoiser_shrinks_in_the_true_basis(spec, sigma):
    """It multiplies each coefficient by energy / (energy + sigma^2); sigma^2 times these weights is its error."""
    dataset, start = create(spec), 62
    known = dataset.true_basis("test", 3, start)
    weights = known.energies / (known.energies + sigma**2)
    expected = ((known.vectors.double() * weights[:, None]) @ known.vectors.double().mT).expand(3, -1, -1)
    noisy = noisy_images(dataset, sigma, 3, start)
    maps = dataset.optimal_filters(noisy, sigma, "test", start)
    torch.testing.assert_close(maps.matrices().double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(maps.select(2).matrices().double(), expected[2:], atol=1e-5, rtol=0)
    changed = noisy + normal(*noisy.shape, seed=2)
    if dataset.optimum.kind == "bracket":
        denoised = [dataset.genie(images, sigma, "test", start) for images in (noisy, changed)]
        error = dataset.lower_bound("test", 3, sigma, start)
    else:
        result = [dataset.posterior(images, sigma) for images in (noisy, changed)]
        denoised, error = [posterior.mean for posterior in result], result[0].trace / noisy[0].numel()
    difference = (expected @ (changed - noisy).flatten(1)[..., None])[..., 0]
    torch.testing.assert_close((denoised[1] - denoised[0]).double().flatten(1), difference, atol=1e-4, rtol=0)
    torch.testing.assert_close(error, (sigma**2 * weights.mean(1)).expand(3))


@pytest.mark.parametrize(
    ("spec", "sigma", "step", "tolerance"),
    [
        ("finite[discs[size=12],count=20]", 0.5, 1e-5, 1e-5),
        ("finite[discs[size=12],count=20]", 1.0, 1e-5, 1e-5),
        ("rays[discs[size=12]]", 0.5, 1e-5, 1e-5),
        # The filter is computed from samples, and the mean is not.
        ("sinusoids[size=12,rows=2,columns=-1]", 0.5, 1e-4, 0.1),
        # Draws differ from image to image, so smaller differences of sampled means would be lost in their errors.
        ("discs[size=8]", 1.0, 0.05, 0.15),
    ],
)
def test_optimal_filters_are_the_derivatives_of_the_posterior_mean(spec, sigma, step, tolerance):
    """Equation 9 of Kadkhodaie 2024, by differences along the direction to another image."""
    dataset = create(spec)
    noisy = noisy_images(dataset, sigma)
    along = dataset.images("test", 3, 10).double() - noisy
    above, below = (dataset.posterior(noisy + sign * step * along, sigma).mean for sign in (1, -1))
    differences = (above - below).flatten(1) / (2 * step)
    filters = dataset.optimal_filters(noisy, sigma, "test").matrices().double()
    product = (filters @ along.flatten(1)[..., None])[..., 0]
    assert differences.norm(dim=1).min() > 1e-3
    assert ((product - differences).norm(dim=1) <= tolerance * differences.norm(dim=1)).all()


@pytest.mark.parametrize(
    ("spec", "dimension", "little"),
    [
        ("gaussian-field[size=9,alpha=0.5]", 81, 1e-7),
        ("gaussian-field[size=8,colour=rgb]", 192, 1e-7),
        # The 64 faces minus their mean span 63 dimensions.
        ("gaussian-faces[faces=faces[size=12],isotropic=0]", 63, 1e-7),
        ("finite[faces[size=8],count=20]", 0, 1e-7),
        ("rays[discs[size=12]]", 1, 1e-3),
        ("sinusoids[size=12,rows=2,columns=-1]", 2, 1e-3),
        ("discs[size=8]", 5, 1e-4),
    ],
)
def test_posteriors_tend_to_the_tangent_space_and_to_the_prior(spec, dimension, little):
    """Under weak noise the error is sigma^2 per dimension, and under strong noise the variance of the prior."""
    dataset = create(spec)
    clean = dataset.images("test", 3).double()
    posterior = dataset.posterior(noisy_images(dataset, little), little)
    torch.testing.assert_close(posterior.trace / little**2, torch.full((3,), dimension).double(), rtol=0.03, atol=1e-6)
    assert (posterior.mean - clean).abs().max() < 7 * little
    posterior, prior = dataset.posterior(clean, 1e4), dataset.images("train", 4096).double()
    variance = prior.var(0)
    assert ((posterior.mean - prior.mean(0)).abs() < 5 * (variance / 4096).sqrt() + 1e-3).all()
    torch.testing.assert_close(posterior.trace, variance.sum().expand(3), rtol=0.05, atol=0)


@pytest.mark.parametrize("spec", ["c-alpha[size=16]", "c-alpha[size=16,construction=paper]", "discs[size=16]"])
def test_blocks_of_images_follow_each_other_and_differ(spec):
    dataset = create(spec)
    many = dataset.images("train", 2 * BLOCK + 10)
    for count, start in ((BLOCK, 0), (BLOCK + 1, 0), (1, BLOCK), (BLOCK, BLOCK - 1), (5, 2 * BLOCK + 5)):
        assert torch.equal(dataset.images("train", count, start), many[start : start + count])
    images = torch.cat([many, dataset.images("validation", 8), dataset.images("test", 8)])
    distances = torch.cdist(images.flatten(1), images.flatten(1)) + 1e3 * torch.eye(len(images))
    assert distances.min() > 1e-3
    torch.manual_seed(2)
    assert torch.equal(create(spec).images("train", 3), many[:3])
    assert not torch.equal(create(spec, seed=1).images("train", 3), many[:3])
    assert [dataset.available(split) for split in SPLITS] == [None] * 5
    assert len(dataset.images("train", 2, start=10**6)) == 2


@pytest.mark.parametrize("name", ["finite[{},count=4]", "gaussian-faces[{}]", "shuffled[{}]", "rays[{}]"])
def test_derived_datasets_have_fingerprint_licence_and_notes_of_their_source(name):
    np.savez("colours.npz", images=np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8))
    dataset, inner = create(name.format("faces[colours.npz]")), create("faces[colours.npz]")
    assert dataset.fingerprint() == inner.fingerprint() is not None
    assert dataset.card.licence == inner.card.licence
    assert inner.card.origin in dataset.card.origin
    assert dataset.notes == inner.notes != ()
