"""References on images whose sides transforms do not take as they are."""

import pytest
import torch
from constructing import construct
from small_plugins import extras

import gahbench
from gahbench import Truth
from gahbench_plugins.references.oracle import OracleShrink, OracleThreshold
from gahbench_plugins.references.oracle_best_basis import OracleBestBasis

SIGMA = 0.1
SIZES = [(17, 23), (30, 45)]
REFERENCES = [
    "gaussian-blur[width=1.0]",
    "low-pass",
    "threshold",
    "threshold[block-dct]",
    "threshold[wavelet-ti]",
    "threshold[curvelet]",
    "threshold[wavelet-packet]",
    "visu-shrink",
    "sure-shrink",
    "bayes-shrink",
    "bandlet",
    "cycle-spin[threshold,shifts=2]",
    "tv[weight=0.1]",
    "nl-means[h=0.1]",
    "bm3d",
    "oracle-threshold",
    "oracle-shrink[wavelet-packet]",
    "oracle-best-basis",
]
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=extras(name.partition("[")[0])) for name in REFERENCES]
)


def smooth(count, height, width):
    """Return images with an edge and a slope, different ones, (N, 1, H, W)."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.3 * (rows > 0.3 + 0.1 * k * columns) + 0.3 * columns + 0.2 for k in range(count)])[:, None]


def noise(clean, draw=0):
    return SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(draw), dtype=clean.dtype)


@EACH
@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_denoised(name, size):
    reference = gahbench.create("reference", name)
    clean = smooth(2, *size)
    reference.check_shape((1, *size))
    noisy = clean + noise(clean)
    denoised = reference.denoise(noisy, SIGMA, Truth(clean))
    assert denoised.shape == clean.shape
    assert (denoised - clean).square().mean() < 0.7 * SIGMA**2
    # In the last rows and columns, beyond which images are continued, there is less error than noise, too.
    edge = torch.cat([(denoised - clean)[..., -3:, :].flatten(), (denoised - clean)[..., -3:].flatten()])
    assert edge.square().mean() < 0.7 * SIGMA**2
    assert torch.equal(reference.denoise(noisy, 0.0, Truth(clean)), noisy) or name.startswith(("oracle", "low-pass"))


@pytest.mark.parametrize("basis", ["sym4", "block-dct", "wavelet-packet", "curvelet", "bandlet"])
def test_a_threshold_of_nearly_0_returns_the_noisy_image(basis):
    clean = smooth(2, 17, 23).double()
    noisy = clean + noise(clean)
    reference = gahbench.create("reference", f"threshold[{basis},k=1.0e-9]")
    torch.testing.assert_close(reference.denoise(noisy, SIGMA, Truth(clean)), noisy, atol=1e-8, rtol=0)


@EACH
def test_constant_images_stay_constant_and_transposed_ones_give_transposed_ones(name):
    reference = gahbench.create("reference", name)
    flat = torch.full((1, 1, 17, 23), 0.5)
    # Shrinking by c^2 / (c^2 + sigma^2) makes all a little darker; BM3D fails where all patches are exactly equal.
    if not name.startswith(("bm3d", "oracle-shrink")):
        torch.testing.assert_close(reference.denoise(flat, SIGMA, Truth(flat)), flat, atol=1e-5, rtol=0)
    clean = smooth(1, 17, 23)
    noisy = clean + noise(clean)
    one, other = reference.denoise(noisy, SIGMA, Truth(clean)), reference.denoise(noisy.mT, SIGMA, Truth(clean.mT))
    # Bandlets, BM3D and the projections of TV visit rows before columns, which decides among nearly equal choices.
    loose = 0.02 if name in ("bandlet", "bm3d") else 1e-4
    assert (one - other.mT).square().mean().sqrt() < loose


def test_the_best_basis_is_that_of_least_error_on_noisy_images():
    clean = torch.cat([smooth(2, 17, 23), torch.zeros(1, 1, 17, 23)]).double()
    clean[2, 0, 3, 5] = clean[2, 0, 9, 20] = 1
    best = construct(OracleBestBasis, ("pixel", "sym4", "wavelet[bior2.2]"))
    assert best.risk(Truth(clean), SIGMA) is None
    expected = best._risks(Truth(clean), SIGMA)
    for place, basis in enumerate(("pixel", "sym4", "wavelet[bior2.2]")):
        oracle = construct(OracleThreshold, basis)
        draws = torch.stack(
            [
                (oracle.denoise(clean + noise(clean, draw), SIGMA, Truth(clean)) - clean).square().flatten(1).mean(1)
                for draw in range(200)
            ]
        )
        # Four draws of the variance err by several per cent on so few pixels.
        torch.testing.assert_close(expected[place], draws.mean(0), rtol=0.35, atol=1e-6)
    assert best.choice(Truth(clean), SIGMA)[2] == 0
    assert (best.choice(Truth(clean), SIGMA)[:2] > 0).all()


def test_a_slightly_larger_image_hardly_differs_where_it_fits():
    # The interior does not see how the border is continued.
    clean = smooth(1, 64, 64)
    noisy = clean + noise(clean)
    oracle = construct(OracleShrink, "wavelet[haar,levels=2]")
    whole = oracle.denoise(noisy, SIGMA, Truth(clean))
    part = oracle.denoise(noisy[..., :61, :61], SIGMA, Truth(clean[..., :61, :61]))
    torch.testing.assert_close(part[..., :60, :60], whole[..., :60, :60])
