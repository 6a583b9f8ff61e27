"""Metrics of samples: copies, fresh images, equal pairs of images, and the spread of features."""

import math

import pytest
import torch
from given_images import GivenImages
from known_filters import Filters, create, group_by_part, random_images, samples
from random_images import normal
from torch import nn

from gahbench import ParameterError
from gahbench.contracts.truth import TrainingData
from gahbench.evaluation.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.sampling import Sampling
from gahbench_plugins.metrics.training import _lower_limits as lower_limits

EYE = torch.eye(64)
SHAPE = (1, 8, 8)


def images(count, seed):
    return random_images(count, *SHAPE, seed=seed)


def evaluation(drawn, learned=None, fresh=None, partner=None, others=None, network=None, sigmas=(0.1,), **options):
    clean = images(20, 9) if fresh is None else fresh
    learned_from = None if learned is None else TrainingData(GivenImages(learned))
    result = Evaluation(network or Filters(EYE[None]), clean, list(sigmas), learned_from=learned_from, **options)
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


def memorized(drawn, learned):
    return values("memorization", evaluation(samples(drawn), learned))[0]


def test_copies_are_memorized_and_fresh_images_are_not():
    learned = images(30, 1)
    drawn = torch.cat([learned[:3], images(3, 2)])
    result = memorized(drawn, learned)
    assert result[""] == result["duplicate"] == result["affine"] == [1, 1, 1, 0, 0, 0]
    closest, scores = values("closest-training", evaluation(samples(drawn), learned))
    assert closest[""][:3] == pytest.approx([1, 1, 1])
    assert max(closest[""][3:]) < 0.9
    assert closest["distance"][:3] == pytest.approx([0, 0, 0], abs=1e-6)
    # As many fresh images as samples are compared with the training images.
    assert len(closest["fresh"]) == 6
    assert torch.equal(scores.arrays["closest"][:3], learned[:3])


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


@pytest.mark.parametrize("to", ["empirical-bayes", "local-score[patch=15,equivariant=false]"])
def test_samples_of_a_memorizing_denoiser_are_predicted_by_empirical_bayes(to):
    learned, memory = TrainingData(GivenImages(images(6, 1))), create("reference", "empirical-bayes")
    memory.fit(learned)
    # Sampling starts from strong noise, since all samples would otherwise start near the same image.
    sampling = Sampling(count=10, step=0.2, beta=0.5, sigma_start=30.0)
    evaluated = Evaluation(memory, images(20, 9), [0.1], learned_from=learned, sampling=sampling)
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


def featured(learned, drawn):
    fresh = torch.zeros(4, *SHAPE)
    return evaluation(samples(drawn), learned, fresh, network=Trained(Features()), sigmas=(1e-6, 0.5))


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
    with pytest.raises(ParameterError, match="no layer 'feature'; accepted: features"):
        values("representation[feature]", featured(images, images))
    with pytest.raises(ParameterError, match="layer 'last' has no output"):
        values("representation[last]", featured(images, images))


def test_memorization_ratios_equal_hand_computed_values():
    learned = torch.zeros(3, *SHAPE)
    learned[1, ..., 0, 0], learned[2, ..., 0, 1] = 4, 100
    drawn = torch.zeros(4, *SHAPE)
    drawn[:, 0, 0, 0] = torch.tensor([1.0, 2.0, 0.0, 3.5])
    assert memorized(drawn, learned)["ratio"] == pytest.approx([1 / 3, 1, 0, 1 / 7])
    # A duplicate hides copies that are not exact.
    assert memorized(torch.cat([learned[:1], learned[:1] + 0.01]), learned[[0, 0]])["ratio"] == [0, 1]
    # A single image is compared with a flat image.
    image = images(1, 1)
    flat = image.mean((2, 3), keepdim=True)
    drawn = torch.cat([image, flat + 0.9 * (image - flat), flat + 0.5 * (image - flat)])
    assert memorized(drawn, image)["ratio"] == pytest.approx([0, 0.1 / 0.9, 1], abs=1e-5)


def test_affine_memorization_uses_the_best_grey_level_and_contrast():
    learned, drawn = images(6, 1), torch.cat([images(20, 2), 0.2 * images(6, 1)[:3] - 4, 1 - images(6, 1)[:3]])
    drawn[:8] += 2.5 * learned[[0, 1, 2, 3, 4, 5, 0, 1]]

    def distance(sample, image):
        # The least squares fit of contrast and grey level, where the contrast must not be negative.
        features = torch.stack([image.flatten(), torch.ones(64)], 1).double()
        fit = torch.linalg.lstsq(features, sample.flatten().double()[:, None]).solution[:, 0]
        return (sample.flatten() - (features @ fit if fit[0] > 0 else sample.mean())).norm()

    pairs = [torch.stack([distance(sample, image) for image in learned]).sort().values[:2] for sample in drawn]
    assert memorized(drawn, learned)["affine"] == [float(first / second < 1 / 3) for first, second in pairs]
    assert memorized(torch.cat([3 * learned[:1], 1 - learned[:1]]), learned[:1])["affine"] == [1, 0]


def test_diversity_is_the_ratio_of_distances_and_of_effective_numbers():
    drawn, fresh = 0.5 * images(7, 1), images(12, 2)
    result, _ = values("sample-diversity", evaluation(samples(drawn), images(5, 3), fresh))
    squares = [torch.pdist(group.flatten(1).double()).square().mean() for group in (drawn, fresh)]
    assert result[""] == pytest.approx([float((squares[0] / squares[1]).sqrt())])
    # Three times one image and once another count as the exponential of the entropy of their shares.
    cross = torch.cat([torch.eye(64)[:8], -torch.eye(64)[:8]]).view(16, *SHAPE)
    result, _ = values("sample-diversity", evaluation(samples(cross[[0, 0, 0, 1]]), images(5, 3), cross))
    _, numbers = (math.exp(-sum(share * math.log(share) for share in shares)) for shares in ([1], [0.75, 0.25]))
    # The first four fresh images are orthogonal.
    assert result["vendi"] == pytest.approx([numbers / 4])


def quality(drawn, fresh, **options):
    result, _ = values("sample-quality", evaluation(samples(drawn), fresh=fresh, **options))
    return {part: value for part, (value,) in result.items()}


def test_the_null_of_quality_is_the_distance_of_fresh_images():
    # Larger images have enough frequencies, and Gaussian fields are rough.
    dataset = create("dataset", "gaussian-field[size=16]")
    result = quality(dataset.images("train", 100), dataset.images("test", 100), dataset=dataset)
    for value, null in (("", "null"), ("patches", "patches-null")):
        assert 1 / 3 < result[value] / result[null] < 3


def test_quality_of_white_noise_has_a_closed_form():
    """The Wasserstein distance of two centred Gaussians is the difference of their standard deviations."""
    first, second = (normal(100, 1, 16, 20, seed=seed) for seed in (0, 1))
    result = quality(0.5 * first, 0.2 * second + 7)
    assert result["patches"] == pytest.approx(0.3, rel=0.03)
    assert result[""] == pytest.approx(20 * math.log10(0.5 / 0.2), rel=0.03)
    assert quality(2 * first + 1, first)[""] == pytest.approx(20 * math.log10(2))
    assert quality(first, first)[""] == 0


def test_the_power_of_a_wave_is_at_its_frequency():
    """A Hann window spreads a quarter of the power to each neighbouring frequency, and no power further."""
    angles = 2 * math.pi * torch.arange(32).double() / 32
    waves = [(cycles * angles).sin().expand(1, 1, 32, 32) + 3 for cycles in (5, 9)]
    noise = 0.01 * normal(8, 1, 32, 32)
    far, near = quality(waves[0] + noise, waves[1] + noise)[""], quality(waves[0] + noise, waves[0] + noise)[""]
    # Each wave raises the power of three of the 16 frequencies by 30 to 50 dB.
    assert near == 0
    assert 10 < far < 30


def test_the_onset_of_copying_needs_limits_that_hold_for_all_snapshots():
    """For half-half shares, at most 5 % of sets of 8 snapshots have a limit above one half."""
    generator, above, trials = torch.Generator().manual_seed(0), 0, 100
    for _ in range(trials):
        shared = torch.randn(1, 64, generator=generator).double()
        above += bool((lower_limits(shared + torch.randn(8, 64, generator=generator)) > 0).any())
    assert abs(above / trials - 0.05) < 4 * (0.95 * 0.05 / trials) ** 0.5
    constant = torch.stack([torch.ones(6), torch.full((6,), torch.nan), torch.arange(6.0)]).double()
    low = lower_limits(constant)
    assert low[0] == 1
    assert low[1].isnan()
    assert low[2] < 2.5
