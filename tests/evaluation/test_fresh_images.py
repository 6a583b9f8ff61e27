"""The test on fresh images: its statistics, its images, and its result for honest and dishonest denoisers."""

import gc

import numpy as np
import pytest
import scipy.stats
import torch

import gahbench
from gahbench import Reference
from gahbench.evaluation import Evaluation
from gahbench.evaluation.fresh_images import (
    IMAGES,
    FreshImages,
    compare_levels,
    compare_on_fresh_images,
    oracle_psnr,
    psnr,
    welch,
)

SIGMAS = [0.05, 0.2, 0.6]


class FunctionDenoiser(Reference):
    """A denoiser defined by a function."""

    kind = "classical"

    def __init__(self, function):
        self.function = function

    def denoise(self, noisy, sigma, truth):
        return self.function(noisy, sigma, truth)


def create_evaluation(function, dataset="c-alpha[alpha=2,size=16]", images=24):
    dataset = gahbench.create("dataset", dataset)
    return Evaluation(FunctionDenoiser(function), dataset.images("test", images), SIGMAS, dataset=dataset)


def blur(noisy, sigma=None, truth=None):
    padded = torch.nn.functional.pad(noisy, (1, 1, 1, 1), mode="reflect")
    return torch.nn.functional.avg_pool2d(padded, 3, stride=1)


def test_a_constant_oracle_gives_the_statistic_of_welchs_t_test():
    generator = np.random.default_rng(0)
    scored, fresh = generator.normal(0.3, 1.0, 24), generator.normal(0.0, 2.0, 16)
    advantage, error, dof = welch(scored, np.zeros(24), fresh, np.zeros(16))
    expected = scipy.stats.ttest_ind(scored, fresh, equal_var=False)
    assert advantage / error == pytest.approx(expected.statistic)
    # The slope uses one degree of freedom.
    assert dof == pytest.approx(expected.df - 1)


def test_a_difference_that_the_oracle_explains_is_removed():
    generator = np.random.default_rng(1)
    oracle = generator.normal(20, 2, 24), generator.normal(24, 2, 16)
    noise = generator.normal(0, 1e-3, 24), generator.normal(0, 1e-3, 16)
    advantage, error, _ = welch(0.7 * oracle[0] + 1.5 + noise[0], oracle[0], 0.7 * oracle[1] + noise[1], oracle[1])
    assert advantage == pytest.approx(1.5, abs=4e-3)
    assert error < 4e-3


def test_the_standard_error_agrees_with_simulated_advantages():
    generator = np.random.default_rng(2)
    trials = 4000
    oracle = generator.normal(20, 2, (trials, 24)), generator.normal(20, 2, (trials, 16))
    scores = [0.5 * values + generator.normal(0, 1, values.shape) for values in oracle]
    advantage, error, _ = welch(scores[0], oracle[0], scores[1], oracle[1])
    # The standard deviation of 4000 draws is accurate to 1.1 %.
    assert advantage.std() == pytest.approx(np.sqrt((error**2).mean()), rel=0.05)


def test_p_values_of_honest_rows_are_valid():
    generator = np.random.default_rng(3)
    trials, levels = 8_000, 4
    noise = generator.normal(size=(levels, trials, 24)), generator.normal(size=(levels, trials, 16))
    oracle = generator.normal(size=(levels, trials, 24)), generator.normal(size=(levels, trials, 16))
    p, _, _, _ = compare_levels(noise[0], oracle[0], noise[1], oracle[1])
    for level in (0.05, 0.01, 0.001):
        limit = level + 4 * (level / trials) ** 0.5
        assert (p < level).mean() < limit
    # The test is not too conservative.
    assert (p < 0.05).mean() > 0.02


def test_an_advantage_at_one_level_is_found_there():
    generator = np.random.default_rng(4)
    scored, fresh = generator.normal(size=(4, 24)), generator.normal(size=(4, 16))
    scored[2] += 8
    p, index, advantages, _ = compare_levels(scored, np.zeros((4, 24)), fresh, np.zeros((4, 16)))
    assert (p < 1e-4, index) == (True, 3)
    assert advantages[3] == pytest.approx(8, abs=1.5)


def test_the_oracle_has_the_expected_error_of_thresholding():
    clean = gahbench.create("dataset", "discs[size=16]").images("test", 4)
    reference = gahbench.create("reference", "oracle-threshold[dct]")
    reference.fit(gahbench.TrainingData(gahbench.create("dataset", "discs[size=16]")))
    truth = gahbench.Truth(clean)
    draws = []
    for seed in range(200):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        denoised = reference.denoise(clean + 0.1 * noise, 0.1, truth)
        draws.append((denoised - clean).double().square().flatten(1).mean(1))
    errors = torch.stack(draws)
    expected = torch.from_numpy(10 ** (-oracle_psnr(clean, 0.1) / 10))
    assert ((errors.mean(0) - expected).abs() < 4 * errors.std(0) / len(errors) ** 0.5).all()


def test_the_psnr_of_outputs_that_are_not_finite_is_low_and_finite():
    clean = torch.zeros(3, 1, 4, 4)
    denoised = torch.stack([clean[0] + 0.1, clean[0] * np.nan, clean[0] + np.inf])
    assert psnr(denoised, clean) == pytest.approx([20, -100, -100])


def test_new_images_of_a_stream_follow_the_scored_images_at_random_positions():
    evaluation = create_evaluation(blur)
    chosen = [FreshImages.choose(evaluation) for _ in range(20)]
    assert all(images.split == "test" and images.start >= 24 and images.is_stream for images in chosen)
    assert len({images.start for images in chosen}) == 20


@pytest.mark.parametrize(
    ("all_images", "test", "scored", "expected"),
    [(400, 100, 24, "test"), (400, 100, 90, "validation"), (40, 20, 20, None)],
)
def test_images_of_a_finite_set_are_held_out_if_there_are_enough(tmp_path, all_images, test, scored, expected):
    np.save(tmp_path / "some.npy", np.random.default_rng(0).random((all_images, 8, 8)))
    dataset = gahbench.create("dataset", f"images[path={tmp_path / 'some.npy'},test={test},near_duplicates=keep]")
    evaluation = Evaluation(FunctionDenoiser(blur), dataset.images("test", scored), SIGMAS, dataset=dataset)
    if expected is None:
        assert compare_on_fresh_images(evaluation) is FreshImages.choose(evaluation) is None
        return
    for _ in range(20):
        images = FreshImages.choose(evaluation)
        first = scored if expected == "test" else 0
        assert (images.split, images.is_stream) == (expected, False)
        assert first <= images.start <= dataset.available(expected) - IMAGES


@pytest.mark.parametrize("images", [1, 32])
def test_networks_that_memorise_training_images_are_not_flagged(images):
    dataset = gahbench.create("dataset", "c-alpha[alpha=2,size=16]")
    known = dataset.images("train", images).flatten(1)

    def nearest(noisy, sigma, truth):
        return known[torch.cdist(noisy.flatten(1), known).argmin(1)].view_as(noisy)

    assert compare_on_fresh_images(create_evaluation(nearest)).flags == []


def test_a_denoiser_that_finds_the_new_clean_images_beats_the_optimum(monkeypatch):
    dataset = gahbench.create("dataset", "gaussian-field[size=16]")
    drawn = []
    draw = type(dataset).images
    monkeypatch.setattr(
        type(dataset),
        "images",
        lambda self, *arguments, **keywords: drawn.append(draw(self, *arguments, **keywords)) or drawn[-1],
    )

    def knows(noisy, sigma, truth):
        known = torch.cat(drawn).flatten(1)
        return known[torch.cdist(noisy.flatten(1), known).argmin(1)].view_as(noisy)

    evaluation = Evaluation(FunctionDenoiser(knows), dataset.images("test", 24), SIGMAS, dataset=dataset)
    (flag,) = compare_on_fresh_images(evaluation).flags
    assert flag == "has a smaller mean error than the optimum on 16 new images of this dataset (12 compared)"


def test_no_object_holds_the_new_images_while_the_denoiser_runs():
    found_digests = set()

    def digests(images):
        return {image.contiguous().numpy().tobytes() for image in images.detach().float()}

    def searches(noisy, sigma, truth):
        for item in gc.get_objects():
            if type(item) is torch.Tensor and item.ndim == 4 and item.shape[1:] == noisy.shape[1:]:
                found_digests.update(digests(item))
        assert truth.dataset is None
        assert truth.start == 0
        assert truth.clean.isnan().all()
        return blur(noisy)

    evaluation = create_evaluation(searches)
    for sigma in SIGMAS:
        evaluation.denoised(sigma)
    assert digests(evaluation.clean) <= found_digests
    found_digests.clear()
    new = compare_on_fresh_images(evaluation).images
    assert digests(evaluation.clean) <= found_digests
    assert not digests(evaluation.dataset.images(new.split, IMAGES, new.start)) & found_digests
