"""Honest denoisers, some of which memorise their training images, which the checks must not flag.

Run as ``python -m tests.attack honest``.
"""

import itertools
import time

import torch

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.evaluation.audit import audit
from gahbench.networks import Trained
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

SIGMAS = [0.05, 0.1, 0.2, 0.4]
IMAGES = 24
FAMILIES = (
    "c-alpha[alpha=2,size=16]", "discs[size=16]", "gaussian-field[size=16]", "sinusoids[size=16]",
    "rays[image=discs[size=16]]", "finite[discs[size=16],count=8]",
)  # fmt: skip
REFERENCES = (
    "identity", "gaussian-blur", "gaussian-blur[width=3]", "low-pass[share=0.02]", "low-pass", "visu-shrink",
    "bayes-shrink", "sure-shrink", "threshold", "nl-means", "tv", "bandlet", "wiener-linear", "wiener-linear[images=8]",
    "empirical-bayes[images=1]", "empirical-bayes[images=64]", "empirical-bayes[images=1000]",
)  # fmt: skip
NETWORKS = ("unet[width=8,levels=2]", "bf-cnn[width=8,layers=5]", "dncnn[width=8,layers=5]", "vit[width=16,depth=1]")
TRAINING_IMAGES = (1, 4, 32)
STEPS = 150


def rows():
    """Yield the dataset and the name of each row, and the result of the checks."""
    for family in FAMILIES:
        dataset = gahbench.create("dataset", family)

        def check(denoiser, dataset=dataset):
            return audit(Evaluation(denoiser, dataset.images("test", IMAGES), SIGMAS, dataset=dataset))

        for name in REFERENCES:
            reference = gahbench.create("reference", name)
            reference.fit(gahbench.TrainingData(dataset))
            yield family, name, check(reference)
        for name, images in itertools.product(NETWORKS, TRAINING_IMAGES) if family in FAMILIES[:4] else ():
            yield family, f"{name}, trained on {images} images", check(train(name, dataset, images))


def train(name, dataset, images):
    """Train a network on a few images."""
    settings = Training(steps=STEPS, batch_size=8, train_images=images, validations=1, compile="never")
    torch.manual_seed(0)
    network = gahbench.create("architecture", name, shape=dataset.shape)
    return Trained(Trainer(network, dataset, settings, 0, Acceleration(False, compiled=False)).fit().network)


def main(arguments=()):
    """Check all rows; print the flagged rows, and return 1 if there are any."""
    started, count, flagged, smallest_p = time.monotonic(), 0, 0, 1.0
    for family, name, result in rows():
        count += 1
        smallest_p = min(smallest_p, (result.facts.get("fresh") or {"p": 1.0})["p"])
        if result.flags:
            flagged += 1
            print(f"WRONG {name} on {family}: {'; '.join(result.flags)}", flush=True)
    seconds = time.monotonic() - started
    print(f"{flagged} of {count} honest rows flagged, smallest p-value {smallest_p:.1e}, {seconds:.0f} s")
    return int(flagged > 0)
