"""Whether ``precision: auto`` is the faster of float32 and bfloat16, in training, Jacobians and sampling.

Not a test: run it as ``python tests/bench/precision.py`` on an otherwise idle machine. It ends with an error where
``auto`` takes 10 % longer than the faster of the two. What ``auto`` measures before it chooses is timed apart.
"""

import statistics
import sys

import harness
import torch

import gahbench
from gahbench.evaluation import Evaluation
from gahbench.networks import Trained
from gahbench.networks.precision import Choice, Choices
from gahbench.sampling import Sampling, draw_samples, of_network
from gahbench.training.fitting import autotune
from gahbench.training.hardware import Acceleration
from gahbench.training.recipe import Training
from gahbench.training.trainer import Trainer

#: A leg of ``auto`` may take this many times as long as one of the faster precision.
ALLOWED = 1.10
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
                probe, (legs[precision], choice) = harness.timed(lambda: prepare(width, precision, choices, options))  # noqa: B023
            seconds = harness.timed_in_turn(legs, options.rounds)
            medians = {precision: statistics.median(each) for precision, each in seconds.items()}
            ratio = medians["auto"] / min(medians["float32"], medians["bfloat16"])
            if ratio > ALLOWED and not options.smoke:
                slow.append(f"{prepare.__name__} of {width} channels")
            times = [f"{medians[precision]:.2f} s" for precision in PRECISIONS]
            lines.append([prepare.__name__, str(width), *times, choice.precision, f"{ratio:.2f}", f"{probe:.1f} s"])
            print(" ".join(lines[-1]), choice.reason, file=sys.stderr, flush=True)
    print(harness.aligned(lines))
    if slow:
        sys.exit(f"error: auto takes {ALLOWED - 1:.0%} longer than the faster precision: {', '.join(slow)}")


def training(width, precision, choices, options):
    """Return a leg of training steps, warmed up, and the choice."""
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
    """Return a leg that finds the Jacobian at one image, and the choice."""
    denoiser, clean = Trained(harness.unet(width).eval()), dataset(options).images("test", 1)

    def evaluation(images, levels):
        return Evaluation(denoiser, images, levels, jacobian_precision=precision, choices=choices)

    choice = Choice()
    if precision == "auto":
        # Boards with many images choose once, so the probe is timed apart.
        many = evaluation(clean.expand(1000, -1, -1, -1), [0.1] * 10)
        choice = Choice(many.local._precision(many.jacobian(0.1)), many.local.choice.reason)
        precision = choice.precision
    leg = lambda: evaluation(clean, [0.1]).local.matrices(0.1)  # noqa: E731
    leg()
    return leg, choice


def sampling(width, precision, choices, options):
    """Return a leg that samples images, and the choice."""
    denoise = of_network(harness.unet(width), precision=precision, calls=1_000_000, choices=choices)
    settings = Sampling(count=4, sampler="flow", levels=8)
    leg = lambda: draw_samples(denoise, dataset(options).shape, settings)  # noqa: E731
    leg()
    return leg, next(iter(choices._known.values())) if precision == "auto" and choices._known else Choice()


def dataset(options):
    """Return images of discs."""
    return gahbench.create("dataset", "discs", size=options.size)


if __name__ == "__main__":
    main()
