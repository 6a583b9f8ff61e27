import learned_references
import pytest
import torch
from given_images import GivenImages
from learned_references import with_noise

import gahbench
from gahbench._util.errors import DataError
from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.references._tuned import Tuned

IMAGES = 0.2 * torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Divide(Tuned):
    """A reference that divides white images of variance 0.04 by a number; the optimum is 1 + sigma^2 / 0.04."""

    tuned_parameter = "divisor"
    limits = (0.1, 50.0)

    def __init__(self, divisor=None, images=16, start=1.0):
        super().__init__(divisor, images)
        self.start = start
        self.tried = []

    def filter_images(self, noisy, sigma, value):
        self.tried.append(value)
        return noisy / value

    def guess(self, sigma):
        return self.start


def fit_reference(*arguments, **parameters):
    reference = Divide(*arguments, **parameters)
    reference.fit(TrainingData(GivenImages(IMAGES)))
    return reference


@pytest.mark.parametrize("start", [0.1, 1.0, 3.3, 50.0])
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_tuning_finds_the_minimum_from_any_start(start, sigma):
    reference = fit_reference(start=start)
    # Neighbouring candidates differ by the cube root of 2.
    assert abs(torch.tensor(reference.value(sigma) / (1 + sigma**2 / 0.04)).log2()) < 0.2
    torch.testing.assert_close(reference.denoise(IMAGES, sigma, Truth(IMAGES)), IMAGES / reference.value(sigma))


def test_tuning_runs_once_for_each_noise_level_on_limited_images():
    reference = fit_reference(images=5)
    assert reference.notes == ()
    reference.value(0.5)
    tried = len(reference.tried)
    high = reference.value(0.5)
    assert len(reference.tried) == tried
    low = reference.value(0.1)
    assert len(reference.tried) > tried
    assert reference.notes == (f"divisor tuned on 5 validation images: {low:.2g} at σ 0.1, {high:.2g} at σ 0.5",)
    assert fit_reference(images=5).value(0.5) == high


def test_fitting_again_discards_tuned_values():
    reference = fit_reference()
    before = reference.value(0.2)
    reference.fit(TrainingData(GivenImages(IMAGES / 10)))
    assert reference.value(0.2) > 5 * before


def test_a_value_at_the_end_of_the_range_is_noted():
    reference = fit_reference()
    assert reference.value(10.0) == 50
    assert "50 at σ 10 (the end of its range)" in reference.notes[0]


def test_tuning_uses_only_validation_images():
    dataset = GivenImages(IMAGES)
    reference = Divide()
    reference.fit(TrainingData(dataset))
    reference.denoise(IMAGES, 0.1, Truth(torch.full_like(IMAGES, torch.nan)))
    assert set(dataset.requested_splits) == {"validation"}
    assert reference.kind == "classical"


def test_a_fixed_value_or_no_noise_needs_no_images():
    reference = Divide(4.0)
    assert torch.equal(reference.denoise(IMAGES, 0.1, Truth(IMAGES)), IMAGES / 4)
    assert reference.notes == ()
    assert fit_reference(4.0).value(0.3) == 4
    assert Divide().denoise(IMAGES, 0.0, Truth(IMAGES)) is IMAGES


def test_the_error_without_images_names_the_solutions():
    with pytest.raises(DataError, match=r"divisor is tuned.*call fit\(examples\) first"):
        Divide().denoise(IMAGES, 0.1, Truth(IMAGES))
    reference = Divide()
    reference.fit(TrainingData(GivenImages(IMAGES[:0])))
    with pytest.raises(DataError, match="no validation images"):
        reference.value(0.1)


@pytest.mark.parametrize(
    ("name", "limit"), [("nl-means[images=8]", 0.4), ("tv[images=8]", 0.5), ("gaussian-blur[images=8]", 0.7)]
)
def test_the_tuned_parameter_grows_with_the_noise(name, limit):
    dataset = gahbench.create("dataset", "discs[size=20]")
    tuned, clean = learned_references.fitted(name, dataset), dataset.images("test", 8)
    values = []
    for sigma in (0.02, 0.1, 0.3):
        assert (tuned.denoise(with_noise(clean, sigma), sigma, Truth(clean)) - clean).square().mean() < limit * sigma**2
        values.append(tuned.value(sigma))
    assert values == sorted(set(values))
    assert tuned.notes[0].startswith(f"{tuned.tuned_parameter} tuned on 8 validation images")
