"""Properties of many references: closed forms of the risk, image sizes, limits, and refused inputs."""

import pytest
import torch
from constructing import construct
from learned_references import fitted, with_noise
from random_images import uniform as random
from small_plugins import extras

import gahbench
from gahbench import DataError
from gahbench.contracts.truth import Truth
from gahbench.registry.registry import Registry
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.oracle import OracleShrink
from gahbench_plugins.references.oracle_best_basis import OracleBestBasis

SQUARE = (1, 16, 16)
BASES = [plugin.name for plugin in Registry().plugins("basis") if plugin.name != "curvelet"]
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
    dataset = gahbench.create("dataset", "c-alpha[alpha=2,size=16]")
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


@pytest.mark.parametrize("rule", ["hard", "soft"])
@pytest.mark.parametrize(("basis", "sigma"), [("sym4", 0.1), ("haar", 0.02), ("dct", 0.3), ("pixel", 0.1)])
def test_the_risk_of_a_threshold_is_the_mean_over_noise(rule, basis, sigma):
    reference, draws = gahbench.create("reference", f"threshold[{basis},rule={rule},k=2.5]"), 300
    clean = CAlpha(2.0, 16).images("test", 1).double()
    noisy = with_noise(clean.expand(draws, -1, -1, -1), sigma, 5)
    errors = (reference.denoise(noisy, sigma, Truth(clean)) - clean).square().flatten(1).mean(1)
    error = float(errors.mean() - reference.risk(Truth(clean), sigma))
    assert abs(error) < 3 * float(errors.std()) / draws**0.5 < 0.15 * float(errors.mean())


def test_most_bases_are_orthonormal():
    without = {name for name in BASES if not gahbench.create("basis", name).is_orthonormal(SQUARE)}
    assert without == {"wavelet-ti"}


SIGMA = 0.1
SIZES = [(17, 23), (30, 45)]
REFERENCES = [
    "gaussian-blur[width=1.0]", "low-pass", "threshold", "threshold[block-dct]", "threshold[wavelet-ti]",
    "threshold[curvelet]", "threshold[wavelet-packet]", "visu-shrink", "sure-shrink", "bayes-shrink", "bandlet",
    "cycle-spin[threshold,shifts=2]", "tv[weight=0.1]", "nl-means[h=0.1]", "bilateral[hr=0.3]",
    "guided-filter[eps=4.0]", "anisotropic[width=1.5]", "bm3d", "oracle-threshold",
    "oracle-shrink[wavelet-packet]", "oracle-best-basis",
]  # fmt: skip
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=extras(name.partition("[")[0])) for name in REFERENCES]
)


def smooth(count, height, width):
    """Return different images with an edge and a slope, shape (N, 1, H, W)."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.3 * (rows > 0.3 + 0.1 * k * columns) + 0.3 * columns + 0.2 for k in range(count)])[:, None]


@EACH
@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_denoised(name, size):
    reference = gahbench.create("reference", name)
    clean = smooth(2, *size)
    reference.check_shape((1, *size))
    noisy = with_noise(clean, SIGMA)
    denoised = reference.denoise(noisy, SIGMA, Truth(clean))
    assert denoised.shape == clean.shape
    assert (denoised - clean).square().mean() < 0.7 * SIGMA**2
    # The error is below the noise also in the last rows and columns, next to the padding.
    edge = torch.cat([(denoised - clean)[..., -3:, :].flatten(), (denoised - clean)[..., -3:].flatten()])
    assert edge.square().mean() < 0.7 * SIGMA**2
    assert torch.equal(reference.denoise(noisy, 0.0, Truth(clean)), noisy) or name.startswith(("oracle", "low-pass"))


@pytest.mark.parametrize("basis", ["sym4", "block-dct", "wavelet-packet", "curvelet", "bandlet"])
def test_a_threshold_of_nearly_0_returns_the_noisy_image(basis):
    clean = smooth(2, 17, 23).double()
    noisy = with_noise(clean, SIGMA)
    reference = gahbench.create("reference", f"threshold[{basis},k=1.0e-9]")
    torch.testing.assert_close(reference.denoise(noisy, SIGMA, Truth(clean)), noisy, atol=1e-8, rtol=0)


@EACH
def test_constant_images_stay_constant_and_filters_commute_with_transposition(name):
    reference = gahbench.create("reference", name)
    flat = torch.full((1, 1, 17, 23), 0.5)
    # Shrinking by c^2 / (c^2 + sigma^2) makes images slightly darker; BM3D fails if all patches are equal.
    if not name.startswith(("bm3d", "oracle-shrink")):
        torch.testing.assert_close(reference.denoise(flat, SIGMA, Truth(flat)), flat, atol=1e-5, rtol=0)
    clean = smooth(1, 17, 23)
    noisy = with_noise(clean, SIGMA)
    plain, other = reference.denoise(noisy, SIGMA, Truth(clean)), reference.denoise(noisy.mT, SIGMA, Truth(clean.mT))
    # Bandlets, BM3D and the projections of TV visit rows before columns, which decides among nearly equal choices.
    loose = 0.02 if name in ("bandlet", "bm3d") else 1e-4
    assert (plain - other.mT).square().mean().sqrt() < loose


def test_measured_risks_agree_with_the_matrices_and_choose_the_basis():
    clean = torch.cat([smooth(2, 17, 23), torch.zeros(1, 1, 17, 23)]).double()
    clean[2, 0, 3, 5] = clean[2, 0, 9, 20] = 1
    best, truth = construct(OracleBestBasis, ("pixel", "sym4", "wavelet[bior2.2]")), Truth(clean)
    assert best.risk(truth, SIGMA) is None
    for oracle, result in zip(best.oracles, best._risks(truth, SIGMA), strict=True):
        bias = (oracle.denoise(clean, SIGMA, truth) - clean).square().flatten(1).sum(1)
        variance = SIGMA**2 * oracle.jacobian(clean, SIGMA, truth).matrices().square().sum((1, 2))
        # With four noise images the variance has an error of several per cent on so few pixels.
        torch.testing.assert_close(result, (bias + variance) / 391, rtol=0.35, atol=1e-6)
    choice = best.choice(truth, SIGMA)
    assert choice[2] == 0
    assert (choice[:2] > 0).all()


def test_padding_does_not_change_the_interior():
    # The interior does not depend on the padding.
    clean = smooth(1, 64, 64)
    noisy = with_noise(clean, SIGMA)
    oracle = construct(OracleShrink, "wavelet[haar,levels=2]")
    whole = oracle.denoise(noisy, SIGMA, Truth(clean))
    part = oracle.denoise(noisy[..., :61, :61], SIGMA, Truth(clean[..., :61, :61]))
    torch.testing.assert_close(part[..., :60, :60], whole[..., :60, :60])


CONTOURS = CAlpha(2.0, 16).images("test", 4)


def mark_extras(cases):
    return [pytest.param(*case, marks=extras(case[0].partition("[")[0])) for case in cases]


def fitted_and_denoised(name, noisy, sigma, clean=None):
    return fitted(name, CONTOURS).denoise(noisy, sigma, Truth(noisy if clean is None else clean))


#: References, and noise levels at which images hardly change.
GENTLE = [
    *((name, 1e-6) for name in ("bayes-shrink", "sure-shrink", "nl-means[h=1.0e-4]", "guided-filter[eps=1.0]")),
    *((name, 1e-5) for name in ("bm3d", "wiener-linear")),
    *((name, 1e-9) for name in ("oracle-threshold[sym4]", "oracle-shrink[sym4]")),
    *(
        (name, 0.1)
        for name in ("gaussian-blur[1.0e-3]", "tv[1.0e-6]", "low-pass[1.0]", "bilateral[1.0e-5]", "anisotropic[0.1]")
    ),
    *((name, 1e-3) for name in ("empirical-bayes", "pspc[3]", "local-score[3]", "local-score[3,equivariant=false]")),
]


@pytest.mark.parametrize(("name", "sigma"), mark_extras(GENTLE))
def test_images_hardly_change_under_little_noise_or_strength(name, sigma):
    torch.testing.assert_close(fitted_and_denoised(name, CONTOURS, sigma), CONTOURS, atol=1e-4, rtol=0)


ORACLES = ["oracle-threshold", "oracle-shrink"]
LEARNED = ["empirical-bayes", "local-score[3]", "pspc[3]", "pca-locality", "wiener-linear"]


@pytest.mark.parametrize("name", [*LEARNED, "threshold", "bayes-shrink", "sure-shrink", "gaussian-blur"])
def test_images_are_unchanged_without_noise(name):
    assert torch.equal(fitted_and_denoised(name, CONTOURS, 0.0), CONTOURS)


@pytest.mark.parametrize("name", ["gaussian-blur", "wiener-linear", "threshold", "threshold[rule=soft]", *ORACLES])
def test_the_risk_is_zero_without_noise(name):
    assert fitted(name, CONTOURS).risk(Truth(CONTOURS), 0.0).tolist() == [0] * 4


@pytest.mark.parametrize("name", ["gaussian-blur[1.0e3]", "tv[100.0]", "low-pass[1.0e-6]"])
def test_references_of_full_strength_return_the_mean_of_the_image(name):
    noisy = random(2, 1, 8, 8).float()
    # The iterations of total variation stop early.
    atol = 0.02 if name.startswith("tv") else 1e-5
    mean = noisy.mean((2, 3), keepdim=True).expand_as(noisy)
    result = gahbench.create("reference", name).denoise(noisy, 0.1, Truth(noisy))
    torch.testing.assert_close(result, mean, atol=atol, rtol=0)


@pytest.mark.parametrize("name", ["empirical-bayes", "pspc[3]", "local-score[3,equivariant=false]", "wiener-linear"])
def test_references_return_the_mean_training_image_under_strong_noise(name):
    mean = CONTOURS.mean(0).expand_as(CONTOURS)
    torch.testing.assert_close(fitted_and_denoised(name, CONTOURS, 1e5), mean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["visu-shrink[pixel]", "sure-shrink[pixel]"])
def test_an_image_of_one_pixel_is_unchanged(name):
    pixel = torch.tensor([[[[0.3]]]])
    assert torch.equal(gahbench.create("reference", name).denoise(pixel, 0.1, Truth(pixel)), pixel)


@pytest.mark.parametrize("name", ["bayes-shrink", "sure-shrink", "cycle-spin"])
def test_adaptive_thresholds_have_no_closed_form_of_the_risk(name):
    assert gahbench.create("reference", name).risk(Truth(CONTOURS), 0.1) is None


def test_sure_shrink_is_accurate_in_float32():
    noisy = CONTOURS + 0.1 * random(*CONTOURS.shape).float()
    exact = fitted_and_denoised("sure-shrink", noisy.double(), 0.1)
    torch.testing.assert_close(fitted_and_denoised("sure-shrink", noisy, 0.1).double(), exact, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "message"), [
    ("threshold[rule=firm]", "rule='firm'.*'hard' or 'soft'"),
    *((f"threshold[k={k}]", "k=") for k in ("0.0", "-1.0", ".inf", ".nan")),
    ("nl-means[patch=4]", "odd sides"),
    ("local-score[4]", "odd sides"),
    ("heat-kernel[sym4]", "accepted: bases of graphs, graph-laplacian and patch-graph"),
    ("heat-kernel[time=1.0,trace_fraction=0.5]", "accepted: one of the two"),
    ("oracle-best-basis[bases=[haar]]", "at least 2"),
    ("oracle-best-basis[bases=[haar,haar]]", "repeats a basis"),
    ("cycle-spin[shifts=0]", "shifts=0"),
    *((f"cycle-spin[{inner}]", f"reference '{inner}.*' is of kind")
      for inner in ("oracle-shrink", "optimal", "lower-bound")),
])  # fmt: skip
def test_parameters_are_checked(name, message):
    with pytest.raises(gahbench.GahbenchError, match=message):
        gahbench.create("reference", name)


#: Reference, accepted shape, refused shape, and error message.
SHAPES = [
    ("heat-kernel", (3, 64, 64), (1, 65, 64), "up to 4096 pixels"),
    ("local-blur", (3, 64, 64), (1, 65, 64), "local-blur is a matrix"),
    ("pca-locality", (1, 64, 64), (1, 65, 65), "up to 4096 values"),
    ("wiener-linear", (1, 64, 64), (1, 65, 65), "up to 4096 values"),
    ("cycle-spin[shifts=8]", (1, 8, 32), None, ""),
    ("cycle-spin[shifts=9]", (1, 25, 25), (1, 8, 32), "accepted: 1 to 8"),
    ("local-score[5]", (1, 4, 6), None, ""),
    ("local-score[5,boundary=periodic]", None, (1, 4, 6), "patch=5, not 4x6"),
    ("local-score[boundary=periodic]", (1, 4, 6), None, ""),
    ("pspc[5]", None, (1, 4, 6), "patch=5 does not fit into images of 4x6; accepted: up to 4"),
    ("untrained[unet[width=2,levels=2]]", (1, 12, 8), (1, 10, 8), "multiples of 4, not 10x8"),
]


@pytest.mark.parametrize(("name", "taken", "refused", "message"), SHAPES)
def test_shapes_are_checked(name, taken, refused, message):
    reference = gahbench.create("reference", name)
    if taken:
        reference.check_shape(taken)
    if refused:
        with pytest.raises(ValueError, match=message):
            reference.check_shape(refused)


@pytest.mark.parametrize("name", LEARNED)
def test_learned_references_require_training_images_of_the_same_shape(name):
    images, other = random(3, 1, 4, 5), torch.zeros(1, 1, 6, 5)
    with pytest.raises(DataError, match=r"call fit\(examples\) first"):
        gahbench.create("reference", name).denoise(images, 0.1, Truth(images))
    with pytest.raises(DataError, match=r"was fitted to images of .* and cannot denoise images of"):
        fitted(name, images).denoise(other, 0.1, Truth(other))
    with pytest.raises(DataError, match="no train images"):
        fitted(name, images[:0])


def test_errors_state_what_learned_references_require():
    for name in ("wiener-linear", "pca-locality"):
        with pytest.raises(ValueError, match="up to 4096 values"):
            fitted(name, torch.zeros(2, 1, 65, 65))
    with pytest.raises(DataError, match="accepted: at least 2"):
        fitted("pca-locality", torch.zeros(1, 1, 4, 6))
    large = torch.zeros(1, 1, 65, 65)
    with pytest.raises(ValueError, match="up to 4096 values"):
        fitted("pspc[3]", large).jacobian(large, 0.1, Truth(large))
