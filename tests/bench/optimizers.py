"""The PSNR that optimisers reach in the steps of the suite ``quick``, on several seeds.

Not a test: run it as ``python tests/bench/optimizers.py``. Every optimiser trains the same networks from the same
weights on the same images for as many steps, with the learning rates that are given; the seconds of a step are printed
beside, since a step of one may take longer than a step of another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import smoke
import torch
from training_common import CPU, aligned, spread

import gahbench
from gahbench.contracts.datasets import Dataset
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained, build_network
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The PSNR that optimisers reach in a few hundred steps.")
    parser.add_argument("--optimizers", nargs="+", default=["adam=0.005", "adam=0.01", "muon=0.01"])
    parser.add_argument("--networks", nargs="+", default=["unet[width=16,levels=2]", "bf-cnn[width=16,layers=8]"])
    parser.add_argument("--datasets", nargs="+", default=["c-alpha[alpha=2,size=32,construction=paper]"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--images", type=int, default=64, help="test images")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.03, 0.06, 0.12, 0.25, 0.5])
    parser.add_argument("--threads", type=int, default=1)
    options = smoke.parse(
        parser, "--networks bf-cnn[width=2,layers=3] --datasets discs[size=8] --seeds 1 --steps 3 --images 2", arguments
    )
    torch.set_num_threads(options.threads)
    lines = [["dataset", "network", "optimizer", "PSNR", "", "ms a step"]]
    for label in options.datasets:
        dataset: Dataset = gahbench.create("dataset", label)
        for network in options.networks:
            for optimizer in options.optimizers:
                found = [trained(network, optimizer, seed, dataset, options) for seed in range(options.seeds)]
                values, seconds = zip(*found, strict=True)
                name, pace = optimizer.replace("=", ", "), f"{1000 * min(seconds):.0f}"
                lines.append([label, network, name, f"{statistics.mean(values):.2f}", spread(values, ".2f"), pace])
                print(" ".join(lines[-1]), flush=True)
    print(aligned(lines))


def trained(
    label: str, optimizer: str, seed: int, dataset: Dataset, options: argparse.Namespace
) -> tuple[float, float]:
    """Return the PSNR of a trained network, a mean over noise levels, and the seconds of a step."""
    name, _, rate = optimizer.partition("=")
    settings: dict[str, Any] = {"optimizer": name, "learning_rate": float(rate), "warmup": 20, "sigma_min": 0.02}
    settings |= {"steps": options.steps, "batch_size": options.batch, "validations": 1}
    training = Training.model_validate(settings)
    network = build_network(lambda: gahbench.create("architecture", label, channels=1), seed)
    started = time.process_time()
    fitted = Trainer(network, dataset, training, seed, Acceleration(False, compiled=False), device=CPU).fit()
    seconds = (time.process_time() - started) / options.steps
    clean = dataset.images("test", options.images)
    evaluation = Evaluation(Trained(fitted.network), clean, options.sigmas, dataset=dataset)
    errors = [(evaluation.denoised(sigma) - clean).square().mean((1, 2, 3)) for sigma in options.sigmas]
    return float(-10 * torch.stack(errors).log10().mean()), seconds


if __name__ == "__main__":
    main()
