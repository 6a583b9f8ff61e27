"""Check that ``precision: auto`` chooses the faster of float32 and bfloat16 in training, Jacobians and sampling.

Run ``python tests/bench/precision.py`` on an otherwise idle machine. The benchmark fails if ``auto`` takes 10 % longer
than the faster precision. The measurements with which ``auto`` chooses are timed separately.
"""

import functools
import statistics
import sys

import harness
import torch

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained
from gahbench.networks.precision import Choice, Choices
from gahbench.sampling import Sampling, draw_samples, wrap_network
from gahbench.training.fitting import autotune
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

#: Maximum ratio of the time with ``auto`` to the time with the faster precision.
MAX_RATIO = 1.10
PRECISIONS = ("float32", "bfloat16", "auto")


def main():
    options = harness.options(
        __doc__, "--widths 2 --size 8 --batch 2 --rounds 1 --steps 1",
        widths=[16, 32, 64], size=40, batch=64, rounds=5, steps=4,
    )  # fmt: skip
    lines = [["work", "width", "float32", "bfloat16", "auto", "chosen", "auto / faster", "probe"]]
    slow = []
    for width in options.widths:
        for prepare in (training, jacobian, sampling):
            choices, legs, probe = Choices(), {}, 0.0
            for precision in PRECISIONS:
                call = functools.partial(prepare, width, precision, choices, options)
                probe, (legs[precision], choice) = harness.time_call(call)
            seconds = harness.timed_in_turn(legs, options.rounds)
            medians = {precision: statistics.median(values) for precision, values in seconds.items()}
            ratio = medians["auto"] / min(medians["float32"], medians["bfloat16"])
            if ratio > MAX_RATIO and not options.smoke:
                slow.append(f"{prepare.__name__} of {width} channels")
            times = [f"{medians[precision]:.2f} s" for precision in PRECISIONS]
            lines.append([prepare.__name__, str(width), *times, choice.precision, f"{ratio:.2f}", f"{probe:.1f} s"])
            print(" ".join(lines[-1]), choice.reason, file=sys.stderr, flush=True)
    print(harness.aligned(lines))
    if slow:
        sys.exit(f"error: auto takes {MAX_RATIO - 1:.0%} longer than the faster precision: {', '.join(slow)}")


def training(width, precision, choices, options):
    """Return a function that takes training steps, after a warm-up, and the choice of precision."""
    data = dataset(options)
    recipe = {"steps": 1_000_000, "batch_size": options.batch, "compile": "never", "validations": 1}
    settings = Training.model_validate({**recipe, "precision": precision})
    network = harness.unet(width)
    chosen = autotune(network, data, settings, torch.device("cpu"), choices)
    trainer = Trainer(network, data, settings, harness.SEED, Acceleration(chosen.bfloat16, compiled=False))
    network.train()
    leg = lambda: [trainer.step(step, 0.0) for step in range(options.steps)]  # noqa: E731
    leg()
    return leg, chosen.choice


def jacobian(width, precision, choices, options):
    """Return a function that computes the Jacobian at one image, and the choice of precision."""
    denoiser, clean = Trained(harness.unet(width).eval()), dataset(options).images("test", 1)

    def evaluation(images, levels):
        return Evaluation(denoiser, images, levels, jacobian_precision=precision, choices=choices)

    choice = Choice()
    if precision == "auto":
        # An evaluation of many images chooses once, so the choice is timed separately.
        many = evaluation(clean.expand(1000, -1, -1, -1), [0.1] * 10)
        choice = Choice(many.local_filters._precision(many.jacobian(0.1)), many.local_filters.choice.reason)
        precision = choice.precision
    leg = lambda: evaluation(clean, [0.1]).local_filters.matrices(0.1)  # noqa: E731
    leg()
    return leg, choice


def sampling(width, precision, choices, options):
    """Return a function that draws samples, and the choice of precision."""
    denoise = wrap_network(harness.unet(width), precision=precision, calls=1_000_000, choices=choices)
    settings = Sampling(count=4, sampler="flow", levels=8)
    leg = lambda: draw_samples(denoise, dataset(options).shape, settings)  # noqa: E731
    leg()
    return leg, next(iter(choices._known.values())) if precision == "auto" and choices._known else Choice()


def dataset(options):
    """Return the dataset of discs."""
    return gahbench.create("dataset", "discs", size=options.size)


if __name__ == "__main__":
    main()
