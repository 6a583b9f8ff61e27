"""False-positive rate and power of the test on fresh images, by resampling many images.

    python tests/bench/fresh_images.py [--pool 4000] [--trials 200000]

Each denoiser is scored once on many images of a dataset. Each trial takes some of them as the scored images and 16 as
the fresh images, and compares the gains. The table shows the share of trials in which the row of an honest denoiser is
flagged, which should be 1e-4, and the advantage on the scored images that is flagged in 80 % of trials.
"""

import harness
import numpy as np
import torch

import gahbench
from gahbench.evaluation.fresh_images import ALPHA, IMAGES, compare_levels, oracle_psnr, psnr
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

DATASETS = ["c-alpha[alpha=2,size=16]", "discs[size=16]", "c-alpha[alpha=2,size=32]", "discs[size=32]"]
SIGMAS = (0.03, 0.06, 0.12, 0.25, 0.5)
REFERENCES = ("gaussian-blur", "bayes-shrink", "wiener-linear[images=8]", "empirical-bayes[images=32]")
STEPS = 300
SCORED = (8, 24, 64)
BATCH = 2000


def denoisers(dataset):
    """Yield the name of each denoiser, and a function of noisy images and a noise level."""
    for name in REFERENCES:
        reference = gahbench.create("reference", name)
        reference.fit(gahbench.TrainingData(dataset))
        yield name, lambda noisy, sigma, reference=reference: reference.denoise(noisy, sigma, None)
    for count in (None, 4):
        images = {} if count is None else {"train_images": count}
        settings = Training(recipe="kl", steps=STEPS, batch_size=16, **images)
        torch.manual_seed(0)
        network = gahbench.create("architecture", "unet", channels=1, width=8, levels=2)
        network = Trainer(network, dataset, settings, 0, Acceleration(False, compiled=False)).fit().network
        label = "unet" if count is None else f"unet, of {count} images"
        yield label, lambda noisy, sigma, network=network: network(noisy, torch.full((len(noisy),), sigma))


def curves(denoise, clean):
    """Return the PSNR of a denoiser and of the oracle, shapes (L, N)."""
    own, oracle = [], []
    for index, sigma in enumerate(SIGMAS):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(index))
        with torch.no_grad():
            parts = [denoise(part, sigma) for part in (clean + sigma * noise).split(256)]
        own.append(psnr(torch.cat(parts), clean))
        oracle.append(oracle_psnr(clean, sigma))
    return np.stack(own), np.stack(oracle)


def p_values(own, oracle, scored, trials, generator, advantage=0.0):
    """Return the p-values of trials, shape (trials,), with an advantage in dB on the scored images."""
    values = []
    for _ in range(0, trials, BATCH):
        # Images are drawn with replacement, which matters little among thousands.
        left, right = (generator.integers(own.shape[1], size=(BATCH, count)) for count in (scored, IMAGES))
        values.append(compare_levels(own[:, left] + advantage, oracle[:, left], own[:, right], oracle[:, right])[0])
    return np.concatenate(values)


def detectable(own, oracle, scored, generator):
    """Return the advantage in dB, to 0.1, that is flagged in 80 % of trials."""
    for advantage in np.arange(0.1, 20, 0.1):
        if (p_values(own, oracle, scored, BATCH, generator, advantage) < ALPHA).mean() >= 0.8:
            return advantage
    return np.nan


def main():
    small = "--pool 128 --trials 2000 --datasets discs[size=16]"
    options = harness.options(__doc__, small, pool=4000, trials=200_000, datasets=DATASETS)
    print(f"{'dataset':26} {'denoiser':26} scored  flagged  80 % power, dB")
    for name in options.datasets:
        dataset = gahbench.create("dataset", name)
        clean = dataset.images("validation", options.pool)
        for label, denoise in denoisers(dataset):
            own, oracle = curves(denoise, clean)
            for scored in SCORED:
                generator = np.random.default_rng(0)
                share = (p_values(own, oracle, scored, options.trials, generator) < ALPHA).mean()
                advantage = detectable(own, oracle, scored, generator)
                print(f"{name:26} {label:26} {scored:6} {share:8.1e}  {advantage:6.1f}", flush=True)


if __name__ == "__main__":
    main()
