"""Samples against the published routine, which draws one image at a time.

Not a test: run it as ``python tests/bench/sampling_speed.py --published DIR`` on an otherwise idle machine, DIR being a
folder with the code of Kadkhodaie et al. 2024 (``network.py``, ``algorithm_inv_prob.py`` and what they import). Both
sides sample the same module, the published UNet, trained for a minute on C^alpha images, by the published rule:
h = .01 and growing, beta = .1, from sigma 1 to .05. Beside it stands our UNet with the same weights, which computes the
same in fewer operations, in float32 and in bfloat16. It ends with an error unless all in float32 give the same images
where no noise is injected. Without ``--published`` only our UNet is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import io
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import smoke
import torch
from published_code import Denoiser, module, trained
from torch import Tensor, nn
from training_common import add_options, device_text, print_table, set_up, spread, timed_result

import gahbench
from gahbench._util.readable import counted
from gahbench._util.shapes import Shape
from gahbench.contracts.datasets import Dataset
from gahbench.sampling import Sampling, draw_samples, of_network
from gahbench.sampling.noise import starting_noise

RULE: dict[str, Any] = {"step": 0.01, "beta": 0.1, "sigma_start": 1.0, "sigma_end": 0.05, "growth": "growing"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Samples against the published routine.")
    parser.add_argument("--published", type=Path, help="folder of the published code")
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--levels", type=int, default=2)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--training", type=int, default=300, help="steps of training")
    parser.add_argument("--count", type=int, default=64, help="samples")
    parser.add_argument("--alone", type=int, default=4, help="samples of the published routine in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, help="images denoised at a time")
    add_options(parser)
    # With less training the first step would be the last.
    options = smoke.parse(
        parser, "--width 8 --levels 1 --size 16 --training 60 --count 2 --alone 1 --rounds 1 --threads 1", arguments
    )
    set_up(options)
    torch.manual_seed(0)
    dataset: Dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    network = trained(options.published, options.width, options.levels, dataset, options.training, options.device)
    sides: dict[str, Callable[[Sampling], Any]] = {
        "our UNet": lambda settings: ours(same, options, dataset.shape, settings),
        "our UNet, bfloat16": lambda settings: ours(same, options, dataset.shape, settings, "bfloat16"),
        "our UNet, auto": lambda settings: ours(same, options, dataset.shape, settings, "auto"),
    }
    same = network
    if options.published is not None:
        same, apart = as_ours(network, options, dataset.shape), copy.deepcopy(network)
        sides = {"same module": lambda settings: ours(apart, options, dataset.shape, settings), **sides}
        agree(network, sides, options, dataset.shape)

    seconds: dict[str, list[float]] = {}
    for number in range(options.rounds):
        settings = Sampling(count=options.count, seed=number, **RULE)
        for name, draw in sides.items():
            taken, samples = timed_result(functools.partial(draw, settings), options.device)
            seconds.setdefault(name, []).append(taken / options.count)
            print(f"{name:20} {taken:7.2f} s for {samples}")
        if options.published is not None:
            run = functools.partial(published, network, options, dataset.shape, number)
            taken, steps = timed_result(run, options.device)
            seconds.setdefault("published", []).append(taken / options.alone)
            print(f"{'published':20} {taken:7.2f} s for {options.alone} samples, in {min(steps)} to {max(steps)} steps")
    setting = (
        f"UNet of {options.width} channels and {counted(options.levels, 'level')}, {options.size}x{options.size}, on "
        f"{device_text(options.device)}, {options.count} samples at once, medians of {options.rounds} (min to max)."
    )
    alone = f"The published routine draws {options.alone}, one after the other." if options.published else ""
    lines = [["sampler", "ms a sample", "", "times as fast as published", ""]]
    for name, each in seconds.items():
        times = ["1.0", ""] if name == "published" else ["", ""]
        if options.published is not None and name != "published":
            ratios = [theirs / own for theirs, own in zip(seconds["published"], each, strict=True)]
            times = [f"{statistics.median(ratios):.1f}", spread(ratios, ".1f")]
        own = [1000 * one for one in each]
        lines.append([name, f"{statistics.median(own):.1f}", spread(own, ".1f"), *times])
    print_table(lines, options, setting, alone)


def ours(
    network: nn.Module, options: argparse.Namespace, shape: Shape, settings: Sampling, precision: Any = "float32"
) -> Any:
    """Draw samples our way."""
    denoise = of_network(network, options.device, precision)
    return draw_samples(denoise, shape, settings, batch=options.batch, device=options.device)


def as_ours(network: Denoiser, options: argparse.Namespace, shape: Shape) -> nn.Module:
    """Return our UNet with the weights of the published one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        torch.save(network.network.state_dict(), file)
        unet = f"unet[width={options.width},levels={options.levels}]"
        found: nn.Module = gahbench.create(
            "reference", "pretrained", architecture=unet, checkpoint=str(file)
        ).as_network(shape)
    return found


def published(network: Denoiser, options: argparse.Namespace, shape: Shape, number: int) -> list[int]:
    """Draw samples with the published routine; return how many steps each took."""
    lengths = []
    for place in range(options.alone):
        _, sigmas = routine(network, options, shape, seed=1000 * number + place, init_noise_mean=0.5)
        lengths.append(len(sigmas) - 2)
    return lengths


def agree(network: Denoiser, sides: dict[str, Any], options: argparse.Namespace, shape: Shape) -> None:
    """End with an error unless all in float32 give the same image where no noise is injected.

    The published routine takes one more step after the noise has fallen to sigma_end: ours is made to take as many.
    """
    start = 0.5 + starting_noise(1, shape, seed=7)[0]
    theirs, sigmas = routine(network, options, shape, init_im=start.to(options.device), beta=1.0)
    rule = RULE | {"beta": 1.0, "sigma_end": 1e-6, "max_steps": len(sigmas) - 2}
    for name, draw in sides.items():
        off = float((draw(Sampling(count=1, seed=7, **rule)).images[0] - theirs.cpu()).abs().max())
        print(f"{name:20} without injected noise, {len(sigmas) - 2} steps: off by {off:.1e} at most")
        if name in ("same module", "our UNet") and not off < 1e-3:
            sys.exit("error: the two samplers do not give the same image")


def routine(network: Denoiser, options: argparse.Namespace, shape: Shape, **given: Any) -> tuple[Tensor, list[float]]:
    """Call the published routine; return the image, and the noise levels that it has noted, two more than its steps."""
    algorithm, tasks = module(options.published, "algorithm_inv_prob"), module(options.published, "inverse_tasks_func")
    beta = given.pop("beta", RULE["beta"])
    with contextlib.redirect_stdout(io.StringIO()):
        image, _, sigmas, _ = algorithm.univ_inv_sol(
            network.network, torch.zeros(shape, device=options.device), tasks.synthesis(), options.device,
            sig_0=RULE["sigma_start"], sig_L=RULE["sigma_end"], h0=RULE["step"], beta=beta, freq=0, **given,
        )  # fmt: skip
    return image, sigmas


if __name__ == "__main__":
    main()
