"""Metrics of samples: copies, fresh images, equal pairs of images, and the spread of features."""

import importlib
import math

import pytest
import torch
from given_images import GivenImages
from known_filters import Filters, create, group_by_part, random_images, samples
from torch import nn

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.sampling import Sampling

EYE = torch.eye(64)
SHAPE = (1, 8, 8)


def images(count, seed):
    return random_images(count, *SHAPE, seed=seed)


def evaluation(drawn, learned, fresh=None, partner=None, others=None):
    clean = images(20, 9) if fresh is None else fresh
    result = Evaluation(Filters(EYE[None]), clean, [0.1], learned_from=TrainingData(GivenImages(learned)))
    result._samples = drawn
    if partner is not None:
        result.partner = result.with_denoiser(Filters(EYE[None]))
        result.partner.learned_from = TrainingData(GivenImages(learned if others is None else others))
        result.partner._samples = partner
    return result


def values(metric, evaluated):
    """Return lists of values over samples by part, and the scores."""
    scores = create("metric", metric).score(evaluated)
    return group_by_part(scores), scores


def test_copies_are_memorized_and_fresh_images_are_not():
    learned = images(30, 1)
    drawn = torch.cat([learned[:3], images(3, 2)])
    result, _ = values("memorization", evaluation(samples(drawn), learned))
    assert result[""] == [1, 1, 1, 0, 0, 0]
    assert result["duplicate"] == [1, 1, 1, 0, 0, 0]
    assert result["affine"] == [1, 1, 1, 0, 0, 0]
    closest, scores = values("closest-training", evaluation(samples(drawn), learned))
    assert closest[""][:3] == pytest.approx([1, 1, 1])
    assert max(closest[""][3:]) < 0.9
    assert closest["distance"][:3] == pytest.approx([0, 0, 0], abs=1e-6)
    # As many fresh images as samples are compared with the training images.
    assert len(closest["fresh"]) == 6
    assert torch.equal(scores.arrays["closest"][:3], learned[:3])


def test_a_copy_of_other_brightness_and_contrast_is_the_same_image_without_its_mean():
    learned = images(30, 1)
    closest, _ = values("closest-training", evaluation(samples(0.5 * learned[:2] + 0.3), learned))
    assert closest[""] == pytest.approx([1, 1])
    assert max(closest["distance"]) > 0.01
    copies, _ = values("memorization", evaluation(samples(0.2 * learned[:2] + 0.3), learned))
    assert copies[""] == [0, 0]
    assert copies["affine"] == [1, 1]


def test_diverged_samples_are_counted_and_not_measured():
    learned = images(5, 1)
    drawn = samples(torch.cat([learned[:2], torch.full((1, *SHAPE), torch.nan)]), diverged=(2,))
    counts, _ = values("sampling", evaluation(drawn, learned))
    assert counts[""] == [1, 1, 0]
    assert counts["steps"] == [3, 3, 3]
    result, scores = values("memorization", evaluation(drawn, learned))
    assert result[""] == [1, 1]
    assert max(scores.image) == 1
    nothing = samples(torch.full((2, *SHAPE), torch.nan), diverged=(0, 1))
    for metric in ("memorization", "closest-training", "sample-diversity", "sample-quality"):
        assert values(metric, evaluation(nothing, learned))[0] == {}


def test_pairs_from_the_same_noise():
    first, other = images(6, 1), images(6, 2)
    halves = {"learned": images(9, 3), "others": images(9, 4)}
    same, scores = values("pair-cosine", evaluation(samples(first), partner=samples(first), **halves))
    assert same[""] == pytest.approx([1] * 6)
    assert same["own"] == pytest.approx([1] * 6)
    assert max(map(abs, same["null"])) < 0.6
    assert set(scores.arrays) >= {"samples", "partner_samples", "closest", "partner_closest"}
    apart, _ = values("pair-cosine", evaluation(samples(first), partner=samples(other), **halves))
    # The cosine of 64 independent values has standard deviation 1/8.
    assert max(map(abs, apart[""])) < 0.6
    # Positive images have a high cosine without removing means.
    assert min(apart["raw"]) > 0.5


def test_pairs_with_a_diverged_sample_are_ignored():
    first, other = samples(images(4, 1)), samples(images(4, 1), diverged=(1,))
    _, scores = values("pair-cosine", evaluation(first, images(9, 3), partner=other, others=images(9, 4)))
    assert sorted({index for part, index in zip(scores.part, scores.image, strict=True) if part == ""}) == [0, 2, 3]


def test_diversity_of_fresh_images_and_of_a_single_image():
    fresh, learned = images(200, 5), images(9, 3)
    alike, _ = values("sample-diversity", evaluation(samples(images(200, 6)), learned, fresh))
    assert alike[""] == pytest.approx([1], rel=0.03)
    assert alike["vendi"] == pytest.approx([1], rel=0.03)
    repeated, _ = values(
        "sample-diversity", evaluation(samples(images(1, 6).expand(200, *SHAPE).clone()), learned, fresh)
    )
    assert repeated[""] == pytest.approx([0], abs=1e-4)
    assert repeated["vendi"][0] < 0.05


def test_quality_separates_blurred_samples_from_fresh_samples():
    # Larger images have enough frequencies, and Gaussian fields are rough.
    dataset = gahbench.create("dataset", "gaussian-field", size=16)
    clean = dataset.images("test", 100)
    fresh = dataset.images("train", 100)
    # Halved fluctuations have a power spectrum 6 dB lower.
    sets = {"fresh": fresh, "blurred": _blur(fresh), "pale": fresh.mean() + (fresh - fresh.mean()) / 2}
    result = {}
    for name, drawn in sets.items():
        evaluated = Evaluation(Filters(EYE[None]), clean, [0.1], dataset=dataset)
        evaluated._samples = samples(drawn)
        result[name], _ = values("sample-quality", evaluated)
    assert result["fresh"][""][0] < 2 * result["fresh"]["null"][0]
    assert result["blurred"][""][0] > 4 * result["blurred"]["null"][0]
    assert result["pale"][""][0] == pytest.approx(20 * math.log10(2), abs=result["fresh"]["null"][0])
    assert result["pale"]["patches"][0] > 3 * result["fresh"]["patches-null"][0]
    assert result["fresh"]["patches"][0] < 3 * result["fresh"]["patches-null"][0]


def _blur(given):
    return torch.nn.functional.avg_pool2d(given, 3, 1, 1, count_include_pad=False)


def test_samples_come_from_the_sampler_and_are_drawn_once():
    dataset = gahbench.create("dataset", "finite", dataset="faces[size=16]", count=5)
    reference = create("reference", "optimal")
    sampling = Sampling(count=12, step=0.1, beta=0.3, sigma_start=30.0)
    clean, learned = dataset.images("test", 8), TrainingData(dataset)
    evaluated = Evaluation(reference, clean, [0.1], dataset=dataset, learned_from=learned, sampling=sampling)
    result, _ = values("memorization", evaluated)
    # The exact optimum of a finite set returns its images.
    assert result[""] == [1] * 12
    assert evaluated.samples is evaluated.samples


def posterior(learned, noisy, sigma):
    """Return the average of the training images under their posterior weights."""
    weights = torch.softmax(-torch.cdist(noisy.flatten(1), learned.flatten(1)).square() / (2 * sigma**2), 1)
    return (weights @ learned.flatten(1)).view_as(noisy)


class Memory(Filters):
    """A reference that returns the posterior mean over a few images."""

    def __init__(self, learned):
        super().__init__(EYE[None])
        self.learned = learned

    def denoise(self, noisy, sigma, truth):
        return posterior(self.learned, noisy, sigma)


@pytest.mark.parametrize("to", ["empirical-bayes", "local-score[patch=15,equivariant=false]"])
def test_samples_of_a_memorizing_denoiser_are_predicted_by_empirical_bayes(to):
    learned = images(6, 1)
    # Sampling starts from strong noise, since all samples would otherwise start near the same image.
    sampling = Sampling(count=10, step=0.2, beta=0.5, sigma_start=30.0)
    evaluated = Evaluation(
        Memory(learned), images(20, 9), [0.1], learned_from=TrainingData(GivenImages(learned)), sampling=sampling
    )
    result, scores = values(f"sample-prediction[{to}]", evaluated)
    assert result[""] == pytest.approx([1] * 10, abs=1e-4)
    # The next sample is the same image with probability 1/6.
    assert sum(result["null"]) / 10 < 0.7
    assert torch.allclose(scores.arrays["samples"], scores.arrays["predicted"], atol=1e-2)
    fewer, _ = values(f"sample-prediction[{to},max_samples=4]", evaluated)
    assert fewer[""] == result[""][:4]
    # Other training images do not predict the samples of this denoiser.
    evaluated.learned_from = TrainingData(GivenImages(images(6, 2)))
    others, _ = values(f"sample-prediction[{to}]", evaluated)
    assert max(others[""]) < 0.3


def test_negative_correlations_count_as_0():
    r_squared = importlib.import_module("gahbench_plugins.metrics.sample_prediction").r_squared
    first = images(3, 1)
    assert r_squared(first, 1 - first).tolist() == [0, 0, 0]
    noise = images(3, 2)
    expected = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(first, first + noise, strict=True)
    ]
    assert r_squared(first, first + noise).tolist() == pytest.approx(
        [float(value) ** 2 for value in expected], rel=1e-5
    )


def test_predictions_need_training_images():
    evaluated = Evaluation(Filters(EYE[None]), images(4, 9), [0.1])
    assert values("sample-prediction[empirical-bayes]", evaluated)[0] == {}


def test_copies_of_the_own_half_are_nearest_to_it():
    halves = images(20, 1), images(20, 2)
    first, other = samples(halves[0][:8] + 1e-3), samples(halves[1][:8] + 1e-3)
    result, _ = values("own-half", evaluation(first, halves[0], partner=other, others=halves[1]))
    assert result[""] == [1.0] * 8
    # The statistic is as low as ranks of 8 samples and 20 fresh images allow.
    assert sum(result["c-t"]) / 8 == pytest.approx(-0.5 * 8 * 20 / math.sqrt(8 * 20 * 29 / 12))
    swapped, _ = values("own-half", evaluation(other, halves[0], partner=first, others=halves[1]))
    assert swapped[""] == [0.0] * 8
    assert swapped["affine"] == [0.0] * 8
    # A bias-free network does not know the brightness and contrast of the images that it returns.
    scaled = [samples(3 * half[:8] + 2) for half in halves]
    result, _ = values("own-half", evaluation(scaled[0], halves[0], partner=scaled[1], others=halves[1]))
    assert result["affine"] == [1.0] * 8
    assert sum(result[""]) / 8 < 0.75


def test_half_of_fresh_samples_are_nearest_to_their_own_half():
    totals, ranks = [], []
    for seed in range(40):
        halves = [images(20, 10 * seed + index) for index in range(2)]
        drawn = [samples(images(16, 10 * seed + index)) for index in (3, 4)]
        fresh = images(20, 10 * seed + 5)
        result, _ = values("own-half", evaluation(drawn[0], halves[0], fresh, drawn[1], halves[1]))
        totals.append(sum(result[""]) / 16)
        ranks.append(sum(result["c-t"]) / 16)
    totals, ranks = torch.tensor(totals), torch.tensor(ranks)
    assert abs(float(totals.mean()) - 0.5) < 4 * float(totals.std()) / 40**0.5
    assert abs(float(ranks.mean())) < 4 * float(ranks.std()) / 40**0.5
    # The statistic of a half is standard normal; the mean over halves with shared fresh images has a smaller variance.
    assert 0.5 < float(ranks.std()) < 1.1


class Features(nn.Module):
    """A network with features that are 0, 1 and 2 times the image."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 3, 1, bias=False)
        self.last = nn.Conv2d(3, 1, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1))

    def forward(self, noisy, sigma):
        return self.last(self.features(noisy))


def featured(learned, drawn, network=None):
    clean = torch.zeros(4, 1, 8, 8)
    learned_from = TrainingData(GivenImages(learned))
    result = Evaluation(Trained(network or Features()), clean, [1e-6, 0.5], learned_from=learned_from)
    result._samples = samples(drawn)
    return result


@pytest.mark.parametrize("metric", ["representation", "representation[features]"])
def test_the_spread_belongs_to_the_largest_features(metric):
    # At the lowest noise level there is almost no noise: images of 0.8 have pooled features 0, 0.8 and 1.6.
    learned, drawn = torch.full((6, 1, 8, 8), 0.8), torch.full((3, 1, 8, 8), 0.4)
    result, _ = values(metric, featured(learned, drawn))
    assert result["train"] == pytest.approx([0.8], abs=1e-4)
    assert result["generated"] == pytest.approx([0.4], abs=1e-4)
    assert result["test"] == pytest.approx([0], abs=1e-4)
    assert result[""] == pytest.approx([2], rel=1e-3)


def test_an_unknown_layer_is_named():
    images = torch.rand(3, 1, 8, 8)
    with pytest.raises(ParameterError, match="no layer 'feature'; did you mean 'features'"):
        values("representation[feature]", featured(images, images))
    with pytest.raises(ValueError, match=r"layer 'last' returns shape \(3, 1, 8, 8\); accepted: \(N, C, H, W\), C > 1"):
        values("representation[last]", featured(images, images))


def test_a_network_without_features_has_no_value():
    images = torch.rand(3, 1, 8, 8)

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, noisy, sigma):
            return self.inner(noisy.flatten(1)).view_as(noisy)

    assert values("representation", featured(images, images, Flat()))[0] == {}
