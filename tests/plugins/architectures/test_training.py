"""Every architecture trains at toy size."""

import functools

import pytest
from small_fits import make
from small_plugins import NEEDS, SMALL, mark_extras

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.networks.trained import Trained
from gahbench.registry.registry import Registry

#: All architectures except scunet, which takes over a second per step; the contract check trains it.
NAMES = [name for name in Registry().names("architecture") if name != "scunet"]
TRAINING = {
    "steps": 30,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "sigma_min": 0.3,
    "warmup": 5,
    "validations": 1,
    "validation_images": 2,
}
#: Networks of deepinv need more, smaller steps.
LONGER = {"steps": 50, "batch_size": 8, "learning_rate": 5e-3}
SIGMA = 0.5


@pytest.mark.parametrize("name", mark_extras(NAMES))
def test_every_architecture_trains_and_improves_on_the_noisy_images(name):
    # Networks of deepinv pad smaller images to 32 pixels.
    size = 32 if name in NEEDS else 16
    parameters = SMALL.get(name, {}) | ({"backbone": "resnet10t", "levels": 2} if name == "timm-unet" else {})
    build = functools.partial(gahbench.create, "architecture", name, shape=(1, size, size), **parameters)
    trainer = make(network=build, size=size, **TRAINING | (LONGER if name in NEEDS else {}))
    dataset = trainer.dataset
    evaluation = Evaluation(Trained(trainer.fit().network), dataset.images("test", 8), [SIGMA], dataset=dataset)
    errors = (evaluation.denoised(SIGMA) - evaluation.clean).square().mean((1, 2, 3))
    # The gain over the noisy images, whose error is sigma^2.
    assert float((10 * (SIGMA**2 / errors).log10()).mean()) > 0.5
