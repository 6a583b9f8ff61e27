"""Honest denoisers, some of which memorise their training images, which the checks must not flag.

Run as ``python -m tests.attack honest``.
"""

import itertools

import torch

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.evaluation.audit import audit
from gahbench.networks import Trained
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

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


def denoisers(family, dataset):
    """Yield the name of each honest denoiser of a family of images, and the denoiser."""
    for name in REFERENCES:
        reference = gahbench.create("reference", name)
        reference.fit(gahbench.TrainingData(dataset))
        yield name, reference
    for name, images in itertools.product(NETWORKS, (1, 4, 32)) if family in FAMILIES[:4] else ():
        settings = Training(steps=150, batch_size=8, train_images=images, validations=1, compile="never")
        torch.manual_seed(0)
        network = gahbench.create("architecture", name, shape=dataset.shape)
        fitted = Trainer(network, dataset, settings, 0, Acceleration(False, compiled=False)).fit()
        yield f"{name}, trained on {images} images", Trained(fitted)


def main():
    """Check all denoisers; print the flagged rows, and return 1 if there are any."""
    count, flagged = 0, 0
    for family in FAMILIES:
        dataset = gahbench.create("dataset", family)
        for name, denoiser in denoisers(family, dataset):
            evaluation = Evaluation(denoiser, dataset.images("test", 24), [0.05, 0.1, 0.2, 0.4], dataset=dataset)
            flags = audit(evaluation).flags
            count, flagged = count + 1, flagged + bool(flags)
            if flags:
                print(f"WRONG {name} on {family}: {'; '.join(flags)}", flush=True)
    print(f"{flagged} of {count} honest rows flagged")
    return int(flagged > 0)
