"""Time that metrics take to score a network.

Run ``python tests/bench/scoring_speed.py --device cuda`` on an otherwise idle machine. Every metric gets a separate
evaluation, so intermediate results that metrics of a suite share are recomputed. The network has random weights. The
first metric is scored twice, since the first call chooses kernels.
"""

import functools

import harness

import gahbench
from gahbench._util.readable import pluralize
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained, build_network


def main():
    options = harness.options(
        __doc__, "--dataset discs[size=16] --images 1 --width 4 --sigmas 0.1 0.3", on_devices=True,
        metrics=["psnr", "ssim", "slope"], dataset="c-alpha[alpha=2,size=40]", images=1024, width=64,
        sigmas=[0.03, 0.06, 0.12, 0.25, 0.5],
    )  # fmt: skip
    dataset = gahbench.create("dataset", options.dataset)
    clean = dataset.images("test", options.images)
    network = build_network(functools.partial(harness.unet, options.width), harness.SEED, "kaiming").eval()
    trained = Trained(network, options.device)
    lines = []
    for name in options.metrics if options.smoke else (options.metrics[0], *options.metrics):
        metric, memory = gahbench.create("metric", name), harness.watch_memory(options.device)
        evaluation = Evaluation(trained, clean, options.sigmas, dataset=dataset, device=options.device)
        seconds, _ = harness.time_call(functools.partial(metric.score, evaluation), options.device)
        milliseconds = f"{1000 * seconds / len(clean) / len(options.sigmas):.2f}"
        lines.append([name, str(len(clean)), f"{seconds:.2f}", milliseconds, memory()])
    setting = (
        f"UNet of {options.width} channels and 3 levels, {options.dataset}, "
        f"{pluralize(len(options.sigmas), 'noise level')}, on {harness.device_text(options.device)}, in float32."
    )
    heading = ["metric", "images", "seconds", "ms an image and noise level", "GiB"]
    harness.print_table([heading, *lines[-len(options.metrics) :]], options, setting, harness.MEMORY)


if __name__ == "__main__":
    main()
