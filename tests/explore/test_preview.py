"""``gahbench.preview``: images, noise, optimum, true basis, and faults of datasets."""

import pytest
import torch
from fake_families import HARD_AT_LOW_NOISE, HEAD

import gahbench
from gahbench._util.errors import DataError, OptimumError, ParameterError, PluginError
from gahbench.contracts.datasets import SPLITS
from gahbench.contracts.truth import Truth
from gahbench.evaluation.evaluation import Evaluation
from gahbench.explore.preview import contact_sheet


class Identity:
    kind = "classical"

    def denoise(self, noisy, sigma, truth: Truth):
        return noisy

    def risk(self, truth, sigma):
        return None


def test_the_noise_equals_the_noise_of_runs(families):
    preview = families.preview("white", [0.2, 0.05], count=5, split="validation")
    dataset = preview.configured.build()
    evaluation = Evaluation(
        Identity(), dataset.images("validation", 5), [0.2, 0.05], split="validation", dataset=dataset
    )
    for level in preview.levels:
        assert torch.equal(level.noisy, evaluation.noisy(level.sigma))
        assert torch.equal(preview.clean, evaluation.clean)


def test_the_noise_of_an_image_does_not_depend_on_the_start(families):
    # Noise is drawn in blocks of 64.
    first = families.preview("white", [0.1], start=62, count=4)
    second = families.preview("white", [0.1], start=64, count=2)
    assert torch.equal(first.clean[2:], second.clean)
    assert torch.equal(first.levels[0].noisy[2:], second.levels[0].noisy)
    assert torch.equal(first.levels[0].best.denoised[2:], second.levels[0].best.denoised)


@pytest.mark.parametrize("name", ["white", "genied"])
@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.7])
def test_the_optimal_error_equals_the_closed_form(families, name, sigma):
    (level,) = families.preview(f"{name}[spread=0.2,depth=3]", [sigma], count=32).levels
    truth = 1 / (1 / 0.2**2 + 1 / sigma**2)
    assert level.best.expected == pytest.approx(truth, rel=1e-6)
    # The mean square of 32 * 240 = 7680 Gaussian errors has a relative standard error of sqrt(2 / 7680).
    assert abs(level.best.measured / truth - 1) < 4 * (2 / 7680) ** 0.5


def test_the_genie_is_given_the_index_of_its_images(families):
    (level,) = families.preview("noiseless-genie", [0.3], count=3, split="train", start=7).levels
    assert level.best.measured == 0
    assert level.best.expected == 0


def test_a_start_whose_noise_does_not_fit_in_memory_raises(families):
    with pytest.raises(ParameterError, match=r"start=1677722: accepted for 4 images of this size: up to 1677717"):
        families.preview("white", start=1_677_722)


def test_repeated_levels_are_dropped(families):
    assert [level.sigma for level in families.preview("white", [0.3, 0.1, 0.3], count=1).levels] == [0.3, 0.1]


def test_statistics_are_over_all_pixels_of_the_sample(families):
    pixels = families.preview("files", [0.1]).pixels
    assert (pixels.count, pixels.mean, pixels.std, pixels.outside) == (3, 1.0, 1.0, 0.5)
    assert families.preview("white").pixels.count == 256


def test_the_default_count_is_limited_by_the_split(families):
    assert len(families.preview("files").clean) == 3
    assert len(families.preview("files", start=2).clean) == 1
    assert len(families.preview("files", split="train").clean) == 4


def test_the_true_basis_belongs_to_the_first_image(families):
    body = (
        "def true_basis(self, split, count, start=0):\n"
        "    assert (split, count) == ('A', 1)\n"
        "    vectors = torch.zeros(1, 80, 2)\n    vectors[0, start, 0] = vectors[0, 0, 1] = 1.0\n"
        "    return gahbench.TrueBasis(vectors)"
    )
    vectors = families.preview("mine", split="A", start=9, body=body).vectors
    assert (vectors.count, vectors.energies) == (2, None)
    # Pixel 9 is in row 1 and column 1 of an image of width 8.
    assert [tuple(index.tolist()) for index in vectors.images.nonzero()] == [(0, 0, 1, 1), (1, 0, 0, 0)]


def test_only_15_vectors_are_kept(families):
    vectors = families.preview("white[spread=0.3]").vectors
    assert vectors.count == 80
    assert vectors.images.shape == (15, 1, 10, 8)
    assert vectors.energies.tolist() == pytest.approx([0.09] * 15)


def test_a_large_true_basis_is_computed_only_if_required(families):
    body = "def true_basis(self, split, count, start=0):\n    raise MemoryError('too large')"
    preview = families.preview("mine[height=40,width=40]", body=body)
    assert (preview.vectors, preview.is_basis_requested) == (None, False)
    with pytest.raises(OptimumError, match="holds no true basis"):
        preview.save_basis("basis.png")
    with pytest.raises(PluginError, match="true_basis: MemoryError: too large"):
        families.preview("mine[height=40,width=40]", true_basis=True)


def test_a_required_true_basis_must_be_known(families):
    assert families.preview("genied").vectors is None
    with pytest.raises(OptimumError, match="'genied': no true basis is known"):
        families.preview("genied", true_basis=True)


INVALID = {
    "sigma of zero": ({"sigmas": [0.1, 0.0]}, ParameterError, "sigma=0; accepted: finite noise levels greater than 0"),
    "sigma not a number": ({"sigmas": [float("nan")]}, ParameterError, "sigma=nan"),
    "no sigma": ({"sigmas": []}, ParameterError, "accepted: 1 to 8"),
    "many sigmas": ({"sigmas": [0.1 * k for k in range(1, 10)]}, ParameterError, "9 noise levels; accepted: 1 to 8"),
    "many images": ({"count": 33}, ParameterError, "count=33; accepted: 1 to 32"),
    "start below zero": ({"start": -1}, ParameterError, "start=-1; accepted: 0 or more"),
    "split": ({"split": "trian"}, ParameterError, "did you mean 'train'"),
    "too many": (
        {"count": 3, "start": 1},
        DataError,
        "3 test images requested from index 1, but the split holds 3",
    ),
    "start at the end": ({"start": 3}, DataError, "the split holds 3"),
    "empty split": ({"split": "validation"}, DataError, "holds no images; splits that do: train, test, A, B"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_raise(families, case):
    arguments, error, message = INVALID[case]
    with pytest.raises(error) as raised:
        families.preview("files", **arguments)
    assert message in str(raised.value)


IMAGES = "def images(self, split, count, start=0): return "
BASIS = "def true_basis(self, *a): return gahbench.TrueBasis("
POSTERIOR = "def posterior(self, noisy, sigma):\n    return gahbench.Posterior("
BRACKET = "optimum = gahbench.Optimum('bracket')\n"
FAULTS = {
    "build": ("def __init__(self):\n    open('/no/such/file')", "it cannot be built: FileNotFoundError"),
    "exit": ("def images(self, split, count, start=0):\n    raise SystemExit(3)", "images: SystemExit: 3"),
    "shape": ("shape = property(lambda self: 1 / 0)\ndef __init__(self): pass", "shape: ZeroDivisionError"),
    "flat shape": ("def __init__(self): self.shape = (8, 8)", "shape: ValueError"),
    "empty shape": ("def __init__(self): self.shape = (1, 0, 8)", "its shape is (1, 0, 8)"),
    "no split": ("def available(self, split): return {'train': 3}[split]", "available: KeyError"),
    "card": ("card = 'mine, free'", "card is 'mine, free'; accepted: a gahbench.Card"),
    "optimum": ("optimum = gahbench.Optimum('exactly')", "of kind exact, bracket, rate, none"),
    "fingerprint": ("def fingerprint(self): raise RuntimeError('gone')", "fingerprint: RuntimeError: gone"),
    "array": (IMAGES + "[[0.5]]", "4 images of the split 'test': it returned a list; accepted: a dense tensor"),
    "sparse mean": (POSTERIOR + "noisy.to_sparse(), torch.ones(len(noisy)))", "mean must be an ordinary tensor, not a"),
    "posterior": ("def posterior(self, noisy, sigma): return noisy", "posterior at sigma=0.05: AttributeError"),
    "mean": (POSTERIOR + "noisy[:1], torch.ones(len(noisy)))", "the posterior mean must have shape"),
    "trace": (POSTERIOR + "noisy, torch.ones(()))", "the posterior trace must have shape (4,), not ()"),
    "negative": (POSTERIOR + "noisy, -torch.ones(len(noisy)))", "an expected error is negative at sigma=0.05"),
    "bound": (BRACKET + "def lower_bound(self, *a): return 0.1", "the lower bound must be a tensor, not float"),
    "genie": (
        BRACKET
        + "def lower_bound(self, *a): return torch.zeros(4)\ndef genie(self, noisy, *a): raise KeyError('lamp')",
        "genie at sigma=0.05: KeyError: 'lamp'",
    ),
    "basis": ("def true_basis(self, *a): return 3", "true_basis: AttributeError"),
    "basis shape": (BASIS + "torch.eye(80))", "the true basis must have shape (1, 80, 80), not (80, 80)"),
    "energies": (
        BASIS + "torch.eye(80)[None], torch.ones(80))",
        "the energies of the true basis must have shape (1, 80)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_datasets_are_reported(families, fault):
    body, message = FAULTS[fault]
    with pytest.raises(PluginError, match=r"dataset 'mine'( cannot be previewed)?: ") as raised:
        families.preview("mine", body=body)
    assert message in str(raised.value)


def test_a_plugin_that_is_not_a_dataset_raises(families):
    families.file.write_text(HEAD + "\nclass Mine:\n    def __init__(self, width: int = 3): ...\n")
    with pytest.raises(PluginError, match=r"it is a Mine, not a gahbench\.Dataset"):
        families.preview("mine")


def test_a_failing_optimum_keeps_the_rest_of_the_preview(families):
    low, high = families.preview("mine", [0.05, 0.2], body=HARD_AT_LOW_NOISE).levels
    assert (low.best, low.obstacle) == (None, "too few effective samples")
    assert (high.best.ess_fraction, high.obstacle) == (0.25, "")


@pytest.mark.parametrize("dataset", ["faces", "sinusoids[size=16]", "c-alpha[size=16]"])
def test_built_in_datasets_can_be_previewed(dataset):
    preview = gahbench.preview(dataset, [0.2], count=2)
    assert set(preview.available) == set(SPLITS)
    has_optimum = preview.optimum.kind in ("exact", "bracket")
    assert len(contact_sheet(preview).axes[0].images) == 2 * (3 if has_optimum else 2)
