"""Properties of many references: closed forms of the risk, image sizes, limits, and training images."""

import pytest
import torch
from learned_references import fitted, with_noise
from random_images import uniform as random
from small_plugins import extras

import gahbench
from gahbench import DataError, Registry, Truth

SIGMA = 0.1
SQUARE = (1, 16, 16)
FAMILY = "c-alpha[alpha=2,size=16]"
BASES = [plugin.name for plugin in Registry().plugins("basis")]
VARIANTS = ["bandlet[wavelet=null]", "bandlet[wavelet=haar,moments=1]", "wavelet[bior2.2,levels=2]"]
#: References that are affine for a given clean image.
AFFINE = [
    *(f"{oracle}[{basis}]" for oracle in ("oracle-threshold", "oracle-shrink") for basis in (*BASES, *VARIANTS)),
    *(f"oracle-best-basis[bases=[dct,haar,bandlet],rule={rule}]" for rule in ("threshold", "shrink")),
    *(f"heat-kernel[kernel={kernel},time={time}]" for kernel in ("heat", "tikhonov") for time in ("null", 0.7)),
    *(f"low-pass[{share}]" for share in (0.02, 0.3, 1.0)), "identity", "gaussian-blur[0.8]", "wiener-linear[200]",
]  # fmt: skip


@pytest.mark.parametrize("name", AFFINE)
def test_the_risk_of_affine_references_is_squared_bias_plus_variance(name):
    dataset = gahbench.create("dataset", FAMILY)
    reference = fitted(name, dataset)
    truth = Truth(dataset.images("test", 2).double(), dataset)
    for sigma in (0.03, 0.3):
        risk = reference.risk(truth, sigma)
        if risk is None:
            assert not reference.basis.is_orthonormal(SQUARE)
            continue
        matrices = reference.jacobian(truth.clean, sigma, truth).matrices().double()
        bias = (reference.denoise(truth.clean, sigma, truth) - truth.clean).flatten(1)
        expected = (bias.square().sum(1) + sigma**2 * matrices.square().sum((1, 2))) / 256
        torch.testing.assert_close(risk, expected, rtol=1e-6, atol=1e-12)


REFERENCES = [
    "gaussian-blur[width=1.0]", "low-pass", "threshold", "threshold[block-dct]", "threshold[wavelet-ti]",
    "threshold[wavelet-packet]", "visu-shrink", "sure-shrink", "bayes-shrink", "bandlet",
    "cycle-spin[threshold,shifts=2]", "tv[weight=0.1]", "nl-means[h=0.1]", "bilateral[hr=0.3]",
    "guided-filter[eps=4.0]", "anisotropic[width=1.5]", "bm3d", "oracle-threshold",
    "oracle-shrink[wavelet-packet]", "oracle-best-basis",
]  # fmt: skip


def smooth(count, height, width):
    """Return different images with an edge and a slope, shape (N, 1, H, W)."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.3 * (rows > 0.3 + 0.1 * k * columns) + 0.3 * columns + 0.2 for k in range(count)])[:, None]


@pytest.mark.parametrize("name", [pytest.param(name, marks=extras(name.partition("[")[0])) for name in REFERENCES])
def test_images_of_every_size_are_denoised_and_constants_and_transposition_are_kept(name):
    reference = gahbench.create("reference", name)
    for size in ((17, 23), (30, 45)):
        clean = smooth(2, *size)
        noisy = with_noise(clean, SIGMA)
        error = reference.denoise(noisy, SIGMA, Truth(clean)) - clean
        # The error is below the noise also in the last rows and columns, next to the padding.
        for part in (error, error[..., -3:, :], error[..., -3:]):
            assert part.square().mean() < 0.7 * SIGMA**2
        assert torch.equal(reference.denoise(noisy, 0.0, Truth(clean)), noisy) or name.startswith(
            ("oracle", "low-pass")
        )
    # Shrinking by c^2 / (c^2 + sigma^2) makes images slightly darker; BM3D fails if all patches are equal.
    if not name.startswith(("bm3d", "oracle-shrink")):
        flat = torch.full((1, 1, 17, 23), 0.5)
        torch.testing.assert_close(reference.denoise(flat, SIGMA, Truth(flat)), flat, atol=1e-5, rtol=0)
    clean = smooth(1, 17, 23)
    noisy = with_noise(clean, SIGMA)
    plain, other = reference.denoise(noisy, SIGMA, Truth(clean)), reference.denoise(noisy.mT, SIGMA, Truth(clean.mT))
    # Bandlets, BM3D and the projections of TV visit rows before columns, which decides among nearly equal choices.
    assert (plain - other.mT).square().mean().sqrt() < (0.02 if name in ("bandlet", "bm3d") else 1e-4)


MEMORIES = ("empirical-bayes", "pspc[3]", "local-score[3,equivariant=false]")
#: References, noise levels, and what images become: they hardly change, or become their mean or that of the training.
LIMITS = [
    *((name, 1e-6, "same") for name in ("bayes-shrink", "sure-shrink", "nl-means[h=1.0e-4]", "guided-filter[eps=1.0]")),
    *((name, 1e-5, "same") for name in ("bm3d", "wiener-linear")),
    *((name, 1e-9, "same") for name in ("oracle-threshold[sym4]", "oracle-shrink[sym4]")),
    *((name, SIGMA, "same") for name in
      ("gaussian-blur[1.0e-3]", "tv[1.0e-6]", "low-pass[1.0]", "bilateral[1.0e-5]", "anisotropic[0.1]")),
    *((name, 1e-3, "same") for name in (*MEMORIES, "local-score[3]")),
    *((name, SIGMA, "mean") for name in ("gaussian-blur[1.0e3]", "low-pass[1.0e-6]")),
    *((name, 1e5, "training") for name in (*MEMORIES, "wiener-linear")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sigma", "limit"), [pytest.param(*case, marks=extras(case[0].partition("[")[0])) for case in LIMITS]
)
def test_without_noise_or_strength_images_stay_and_at_full_strength_a_mean_is_left(name, sigma, limit):
    images = gahbench.create("dataset", FAMILY).images("test", 4)
    means = {"same": images, "mean": images.mean((2, 3), keepdim=True), "training": images.mean(0)}
    result = fitted(name, images).denoise(images, sigma, Truth(images))
    torch.testing.assert_close(result, means[limit].expand_as(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["empirical-bayes", "pspc[2]", "local-score[3]", "pca-locality", "wiener-linear"])
def test_learned_references_require_training_images_of_the_same_shape(name):
    images, other = random(3, 1, 4, 5), torch.zeros(1, 1, 6, 5)
    with pytest.raises(DataError, match=r"call fit\(examples\) first"):
        gahbench.create("reference", name).denoise(images, 0.1, Truth(images))
    with pytest.raises(DataError, match=r"was fitted to images of .* and cannot denoise images of"):
        fitted(name, images).denoise(other, 0.1, Truth(other))
    assert torch.equal(fitted(name, images).denoise(images, 0.0, Truth(images)), images)
    with pytest.raises(DataError, match="no train images"):
        fitted(name, images[:0])
    if name == "pca-locality":
        with pytest.raises(DataError, match="accepted: at least 2"):
            fitted(name, images[:1])
