"""Memory that runs out halves batches, of scores and samples; a fit ends with what needs less."""

import functools

import pytest
import torch
from fake_hardware import Small

import gahbench
from gahbench.devices.batches import Batches, take_memory_notes
from gahbench.evaluation import Evaluation
from gahbench.jacobian import Jacobian
from gahbench.networks import Trained, build_network
from gahbench.sampling import Sampling, draw_samples, of_network
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training

NOTE = "out of memory: computed in batches of {}"
DATASET = gahbench.create("dataset", "discs", size=64)
SIGMAS = [0.1, 0.3]


@pytest.fixture(autouse=True)
def _no_notes():
    take_memory_notes()


def small(images):
    return build_network(functools.partial(Small, images), 0, "kaiming").eval()


def evaluation(denoiser, **options):
    return Evaluation(denoiser, DATASET.images("test", 40), SIGMAS, dataset=DATASET, **options)


def test_batches_are_halved_until_they_fit_and_scores_are_the_same():
    psnr, network = gahbench.create("metric", "psnr"), small(9)
    whole, halved = evaluation(Trained(small(100))), evaluation(Trained(network))
    assert torch.tensor(psnr.score(halved).value) == pytest.approx(torch.tensor(psnr.score(whole).value), rel=1e-6)
    # The second noise level begins with what fitted.
    assert network.batches == [32, 16, *[8] * 5, *[8] * 5]
    assert halved.batches.size == 8


class Noisy:
    """A denoiser that adds numbers of its own, an image at a time, and runs out of memory once."""

    kind = "classical"

    def __init__(self, failures):
        self.failures = failures

    def denoise(self, noisy, sigma, truth):
        drawn = torch.cat([torch.randn(1, *noisy.shape[1:]) for _ in noisy])
        # In the second batch.
        if self.failures and len(noisy) == 8:
            self.failures -= 1
            raise MemoryError
        return noisy + drawn


def test_what_a_denoiser_draws_does_not_depend_on_halving():
    whole, halved = evaluation(Noisy(0)), evaluation(Noisy(1))
    assert torch.equal(halved.denoised(0.1), whole.denoised(0.1))
    assert halved.batches.size == 16


def test_an_image_that_does_not_fit_fails_with_what_needs_less():
    with pytest.raises(MemoryError, match=r"a single image does not fit; fewer workers \(--workers, --workers-per-gpu"):
        evaluation(Trained(small(0))).denoised(0.1)


def test_other_errors_are_raised_at_once():
    calls = []

    def compute(size):
        calls.append(size)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Batches(8).run(compute)
    assert calls == [8]


def test_samples_are_the_same_in_smaller_batches():
    settings = Sampling(count=6, max_steps=3)
    drawn = [draw_samples(of_network(small(images), "cpu"), (1, 16, 16), settings, batch=6).images for images in (9, 2)]
    assert torch.allclose(*drawn, atol=1e-5)
    assert take_memory_notes() == [NOTE.format("1 image")]
    assert take_memory_notes() == []


def test_products_with_jacobians_are_taken_in_smaller_batches():
    noisy = DATASET.images("test", 1)[..., :16, :16]
    network = small(100)
    expected = Jacobian(network, noisy, 0.1).matrices()
    network.images = 20
    assert torch.allclose(Jacobian(network, noisy, 0.1).matrices(), expected, atol=1e-6)
    assert min(network.batches[-5:]) <= 20
    assert take_memory_notes() == [NOTE.format("16 images")]


def test_a_fit_says_what_needs_less_memory(tmp_path):
    training = Training.model_validate({"steps": 3, "batch_size": 8, "compile": "never"})
    needs = r"a step of 8 images of shape \(1, 64, 64\) does not fit; a smaller batch_size, fewer workers \(.*-per-gpu"
    with pytest.raises(MemoryError, match=needs):
        fit(functools.partial(Small, 4), DATASET, training, 0, tmp_path, torch.device("cpu"))
    assert fit(functools.partial(Small, 8), DATASET, training, 0, tmp_path, torch.device("cpu")).facts["steps"] == 3


class Large:
    """A data set of ten images, whose images of one split do not fit."""

    shape = DATASET.shape

    def __init__(self, split):
        self.split = split

    def available(self, split):
        return 10

    def images(self, split, count, start=0):
        if split == self.split:
            raise MemoryError("too large")
        return DATASET.images(split, count, start=start)


@pytest.mark.parametrize(
    ("split", "needs"),
    [
        ("train", r"a set of 10 training images does not fit; fewer train_images and fewer workers .* \(.*too large"),
        ("validation", r"a set of 10 validation images does not fit; fewer validation_images and .* \(.*too large"),
    ],
)
def test_a_fit_says_which_images_do_not_fit(tmp_path, split, needs):
    training = Training.model_validate({"steps": 3, "batch_size": 8, "compile": "never", "precision": "float32"})
    with pytest.raises(MemoryError, match=needs) as caught:
        fit(functools.partial(Small, 8), Large(split), training, 0, tmp_path, torch.device("cpu"))
    assert "a step" not in str(caught.value)


def test_a_fit_whose_validation_does_not_fit_blames_no_step(tmp_path):
    """In training the network takes 8 images, in validation none."""

    class Trains(Small):
        def forward(self, noisy, sigma):
            self.images = 8 if self.training else 0
            return super().forward(noisy, sigma)

    training = Training.model_validate({"steps": 3, "batch_size": 8, "compile": "never", "precision": "float32"})
    with pytest.raises(MemoryError, match=r"^a single image does not fit"):
        fit(functools.partial(Trains, 8), DATASET, training, 0, tmp_path, torch.device("cpu"))
