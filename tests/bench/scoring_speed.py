"""How long metrics take to score a network.

Not a test: run it as ``python tests/bench/scoring_speed.py --device cuda`` on an otherwise idle machine. Every metric
gets an evaluation of its own, so what several metrics of a suite share is computed anew. The network has random
weights. The first metric is scored twice, since the first call chooses kernels.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

import smoke
from training_common import MEMORY, SEED, add_options, device_text, memory_watched, print_table, set_up, timed, unet

import gahbench
from gahbench._util.readable import counted
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained, build_network


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How long metrics take to score a network.")
    add_options(parser)
    parser.add_argument("--metrics", nargs="+", default=["psnr", "ssim", "slope"])
    parser.add_argument("--dataset", default="c-alpha[alpha=2,size=40]")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--width", type=int, default=64, help="channels of the UNet of 3 levels")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.03, 0.06, 0.12, 0.25, 0.5], help="noise levels")
    small = "--dataset discs[size=16] --images 1 --width 4 --sigmas 0.1 0.3 --threads 1"
    options = smoke.parse(parser, small, arguments)
    set_up(options)
    dataset = gahbench.create("dataset", options.dataset)
    clean = dataset.images("test", options.images)
    network = build_network(functools.partial(unet, options.width), SEED, "kaiming").eval()
    trained = Trained(network, options.device)
    lines = [["metric", "images", "seconds", "ms an image and noise level", "GiB"]]
    if not options.smoke:
        options.metrics.insert(0, options.metrics[0])
    for name in options.metrics:
        metric, memory = gahbench.create("metric", name), memory_watched(options.device)
        evaluation = Evaluation(trained, clean, options.sigmas, dataset=dataset, device=options.device)
        seconds = timed(lambda: metric.score(evaluation), options.device)  # noqa: B023
        each = f"{1000 * seconds / len(clean) / len(options.sigmas):.2f}"
        lines.append([name, str(len(clean)), f"{seconds:.2f}", each, memory()])
    setting = (
        f"UNet of {options.width} channels and 3 levels, {options.dataset}, "
        f"{counted(len(options.sigmas), 'noise level')}, on {device_text(options.device)}, in float32."
    )
    if not options.smoke:
        lines.pop(1)
    print_table(lines, options, setting, MEMORY)


if __name__ == "__main__":
    main()
