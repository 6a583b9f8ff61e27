"""When memory runs out, batches of scores and samples are halved, and fits fail with advice."""

import functools

import pytest
import torch
from fake_hardware import Small

import gahbench
from gahbench.devices.hardware import Batches, take_memory_notes
from gahbench.evaluation import Evaluation
from gahbench.jacobian import Jacobian
from gahbench.networks import Trained, build_network
from gahbench.sampling import Sampling, draw_samples, wrap_network
from gahbench.training.fitting import fit
from gahbench.training.recipe import Training

NOTE = "out of memory: computed in batches of {}"
DATASET = gahbench.create("dataset", "discs", size=64)
SIGMAS = [0.1, 0.3]


@pytest.fixture(autouse=True)
def _no_notes():
    take_memory_notes()


def network_for(images):
    return build_network(functools.partial(Small, images), 0, "kaiming").eval()


def evaluation(denoiser, **options):
    return Evaluation(denoiser, DATASET.images("test", 40), SIGMAS, dataset=DATASET, **options)


def test_batches_are_halved_until_they_fit_and_scores_are_the_same():
    psnr, network = gahbench.create("metric", "psnr"), network_for(9)
    full, halved = evaluation(Trained(network_for(100))), evaluation(Trained(network))
    assert torch.tensor(psnr.score(halved).value) == pytest.approx(torch.tensor(psnr.score(full).value), rel=1e-6)
    # The second noise level starts with the batch size that fitted.
    assert network.batches == [32, 16, *[8] * 5, *[8] * 5]
    assert halved.batches.size == 8


class Noisy:
    """A denoiser that adds random numbers, image by image, and runs out of memory once."""

    kind = "classical"

    def __init__(self, failures):
        self.failures = failures

    def denoise(self, noisy, sigma, truth):
        drawn = torch.cat([torch.randn(1, *noisy.shape[1:]) for _ in noisy])
        # Fail in the second batch.
        if self.failures and len(noisy) == 8:
            self.failures -= 1
            raise MemoryError
        return noisy + drawn


def test_halving_does_not_change_the_random_numbers_of_a_denoiser():
    full, halved = evaluation(Noisy(0)), evaluation(Noisy(1))
    assert torch.equal(halved.denoised(0.1), full.denoised(0.1))
    assert halved.batches.size == 16


def test_an_image_that_does_not_fit_fails_with_advice_and_other_errors_are_raised_at_once():
    sizes = []
    with pytest.raises(IndexError):
        Batches(8).run(lambda size: sizes.append(size) or [][size])
    assert sizes == [8]
    with pytest.raises(MemoryError, match=r'a single image does not fit; fewer workers \(--workers, --engine "local'):
        evaluation(Trained(network_for(0))).denoised(0.1)


def test_smaller_batches_give_the_same_samples():
    settings = Sampling(count=6, max_steps=3)
    drawn = [
        draw_samples(wrap_network(network_for(images), "cpu"), (1, 16, 16), settings, batch=6).images
        for images in (9, 2)
    ]
    assert torch.allclose(*drawn, atol=1e-5)
    assert take_memory_notes() == [NOTE.format("1 image")]
    assert take_memory_notes() == []


def test_jacobian_products_use_smaller_batches():
    noisy = DATASET.images("test", 1)[..., :16, :16]
    network = network_for(100)
    expected = Jacobian(network, noisy, 0.1).matrices()
    network.images = 20
    assert torch.allclose(Jacobian(network, noisy, 0.1).matrices(), expected, atol=1e-6)
    assert min(network.batches[-5:]) <= 20
    assert take_memory_notes() == [NOTE.format("16 images")]


def test_a_fit_that_does_not_fit_fails_with_advice(tmp_path):
    training = Training.model_validate({"steps": 3, "batch_size": 8, "compile": "never"})
    with pytest.raises(MemoryError, match=r"a step of 8 images of shape \(1, 64, 64\) does not fit; a smaller batch"):
        fit(functools.partial(Small, 4), DATASET, training, 0, tmp_path, torch.device("cpu"))
    assert fit(functools.partial(Small, 8), DATASET, training, 0, tmp_path, torch.device("cpu")).facts["steps"] == 3
