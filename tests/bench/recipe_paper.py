"""Quality of training by the recipe ``paper``, compared with the published trainer.

Run ``python tests/bench/recipe_paper.py --published DIR``, where DIR is a folder with the code of Kadkhodaie et al.
2024 (``network.py``, ``trainer.py`` and their imports). Both sides train the same networks on the same C^alpha images
for as many steps, each by its own code, and the PSNR on test images is compared: the mean over images and noise levels.
Without the folder only gahbench trains.
"""

import statistics
from pathlib import Path

import harness
import published
import torch

import gahbench
from gahbench.networks.initialisation import build_network
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

SIGMAS = (0.05, 0.1, 0.2, 0.4)
TEST_IMAGES, BATCH, EPOCHS = 64, 32, 10
SMOKE = "--steps 10 --seeds 0 --width 4 --networks unet"


def main():
    options = harness.options(
        __doc__, SMOKE, published=Path, steps=[300, 1500], seeds=[0, 1, 2, 3, 4], networks=[*published.NETWORKS],
        width=16,
    )  # fmt: skip
    dataset = gahbench.create("dataset", "c-alpha[alpha=2,size=32,construction=paper]")
    print(f"Mean PSNR over sigma = {SIGMAS}, in dB; {options.width} channels, batches of {BATCH}.", flush=True)
    trainers = {"gahbench": train} | ({} if options.published is None else {"published": train_published})
    for name in options.networks:
        for steps in options.steps:
            means = {}
            for trainer, fit in trainers.items():
                values = [psnr(fit(name, steps, seed, dataset, options), dataset) for seed in options.seeds]
                means[trainer] = (statistics.mean(values), statistics.variance(values) if len(values) > 1 else 0.0)
                listed = ", ".join(f"{value:.2f}" for value in values)
                print(f"{name}, {steps} steps, {trainer}: mean {means[trainer][0]:.2f} ({listed})", flush=True)
            if len(means) == 2:
                (ours, spread), (theirs, their_spread) = means.values()
                error = ((spread + their_spread) / len(options.seeds)) ** 0.5
                print(f"{name}, {steps} steps: difference {ours - theirs:+.2f}, standard error {error:.2f}", flush=True)


def train(name, steps, seed, dataset, options):
    """Return a network that gahbench trained by the recipe ``paper``."""
    images = BATCH * steps // EPOCHS
    training = Training.model_validate({
        "recipe": "paper", "steps": steps, "batch_size": BATCH, "train_images": images, "epoch_images": images,
        "schedule": "halving", "validations": 1,
    })  # fmt: skip
    settings = {"levels": 2} if name == "unet" else {}
    network = build_network(
        lambda: gahbench.create("architecture", name, channels=1, width=options.width, **settings),
        seed,
        training.initialisation,
    )
    return Trainer(network, dataset, training, seed, Acceleration(bfloat16=False, compiled=False)).fit()


def train_published(name, steps, seed, dataset, options):
    """Return a network that the published code trained, in ten epochs over the same images."""
    images = dataset.images("train", BATCH * steps // EPOCHS)
    fit = published.Fit(options.published, options.width, seed, name=name, levels=2)
    for epoch in range(EPOCHS):
        if epoch:
            fit.halve_rate()
        fit.epoch(images, BATCH)
    return published.Denoiser(fit.network)


def psnr(network, dataset):
    """Return the mean PSNR of a network on test images."""
    clean = dataset.images("test", TEST_IMAGES)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(harness.SEED))
    with torch.no_grad():
        network.eval()
        denoised = torch.stack([network(clean + sigma * noise, torch.full((len(clean),), sigma)) for sigma in SIGMAS])
    return float(-10 * (denoised - clean).square().mean(dim=(2, 3, 4)).log10().mean())


if __name__ == "__main__":
    main()
