"""Speed of sampling, compared with the published routine, which draws one image at a time.

Run ``python tests/bench/sampling_speed.py --published DIR`` on an otherwise idle machine, where DIR is a folder with
the code of Kadkhodaie et al. 2024 (``network.py``, ``algorithm_inv_prob.py`` and their imports). Both sides sample the
same module, the published UNet, trained for a minute on C^alpha images, with the published settings: h = 0.01 and
growing, beta = 0.1, from sigma 1 to 0.05. gahbench's UNet with the same weights, which needs fewer operations, is timed
in float32 and bfloat16, too. The benchmark fails unless all float32 samplers give the same images without injected
noise. Without ``--published``, only gahbench's UNet is timed. ``--training`` is the number of training steps,
``--alone`` the number of samples of the published routine in a round, and ``--batch`` the number of images that are
denoised at a time.
"""

import contextlib
import copy
import functools
import io
import sys
from pathlib import Path

import harness
import published
import torch

import gahbench
from gahbench._util.readable import pluralize
from gahbench.sampling import Sampling, draw_samples, wrap_network
from gahbench.sampling.noise import starting_noise

SETTINGS = {"step": 0.01, "beta": 0.1, "sigma_start": 1.0, "sigma_end": 0.05, "growth": "growing"}


def main():
    # Less trained networks would stop after the first step.
    options = harness.options(
        __doc__, "--width 8 --levels 1 --size 16 --training 60 --count 2 --alone 1 --rounds 1", on_devices=True,
        published=Path, width=24, levels=2, size=32, training=300, count=64, alone=4, rounds=3, batch=int,
    )  # fmt: skip
    torch.manual_seed(0)
    dataset = gahbench.create("dataset", "c-alpha", alpha=2.0, size=options.size)
    shape, device = dataset.shape, options.device
    network = published.train(options.published, options.width, options.levels, dataset, options.training, device)

    def ours(network, precision, settings):
        return draw_samples(
            wrap_network(network, device, precision), shape, settings, batch=options.batch, device=device
        )

    ours_with_weights = network if options.published is None else as_ours(network, options, shape)
    sides = {
        "our UNet": functools.partial(ours, ours_with_weights, "float32"),
        "our UNet, bfloat16": functools.partial(ours, ours_with_weights, "bfloat16"),
        "our UNet, auto": functools.partial(ours, ours_with_weights, "auto"),
    }
    if options.published is not None:
        sides = {"same module": functools.partial(ours, copy.deepcopy(network), "float32"), **sides}
        check_agreement(network, sides, options, shape)
    seconds = {}
    for number in range(options.rounds):
        settings = Sampling(count=options.count, seed=number, **SETTINGS)
        for name, draw in sides.items():
            elapsed, samples = harness.time_call(functools.partial(draw, settings), device)
            seconds.setdefault(name, []).append(elapsed / options.count)
            print(f"{name:20} {elapsed:7.2f} s for {samples}")
        if options.published is not None:
            elapsed, steps = harness.time_call(functools.partial(theirs, network, options, shape, number), device)
            seconds.setdefault("published", []).append(elapsed / options.alone)
            print(
                f"{'published':20} {elapsed:7.2f} s for {options.alone} samples, in {min(steps)} to {max(steps)} steps"
            )
    lines = [["sampler", "ms a sample", "", "times as fast as published", ""]]
    for name, values in seconds.items():
        ratios = harness.ratios(seconds["published"], values) if options.published is not None else []
        times = harness.format_spread(ratios, ".1f") if ratios else ["", ""]
        lines.append([name, *harness.format_spread([1000 * value for value in values], ".1f"), *times])
    setting = (
        f"UNet of {options.width} channels and {pluralize(options.levels, 'level')}, {options.size}x{options.size}, on "
        f"{harness.device_text(device)}, {options.count} samples at once, medians of {options.rounds} (min to max)."
    )
    alone = f"The published routine draws {options.alone}, one after the other." if options.published else ""
    harness.print_table(lines, options, setting, alone)


def as_ours(network, options, shape):
    """Return gahbench's UNet with the weights of the published UNet."""
    file = harness.folder() / "model.pt"
    torch.save(network.network.state_dict(), file)
    unet = f"unet[width={options.width},levels={options.levels}]"
    return gahbench.create("reference", "pretrained", architecture=unet, checkpoint=str(file)).as_network(shape)


def theirs(network, options, shape, number):
    """Draw samples with the published routine, and return the number of steps of each."""
    seeds = (1000 * number + index for index in range(options.alone))
    return [len(routine(network, options, shape, seed=seed, init_noise_mean=0.5)[1]) - 2 for seed in seeds]


def check_agreement(network, sides, options, shape):
    """Exit with an error unless all float32 samplers give the same image without injected noise.

    The published routine takes one more step after the noise has fallen to sigma_end, so set the same number of steps.
    """
    start = 0.5 + starting_noise(1, shape, seed=7)[0]
    expected, sigmas = routine(network, options, shape, init_im=start.to(options.device), beta=1.0)
    rule = SETTINGS | {"beta": 1.0, "sigma_end": 1e-6, "max_steps": len(sigmas) - 2}
    for name, draw in sides.items():
        error = float((draw(Sampling(count=1, seed=7, **rule)).images[0] - expected.cpu()).abs().max())
        print(f"{name:20} without injected noise, {len(sigmas) - 2} steps: maximum error {error:.1e}")
        if name in ("same module", "our UNet") and not error < 1e-3:
            sys.exit("error: the two samplers do not give the same image")


def routine(network, options, shape, beta=SETTINGS["beta"], **arguments):
    """Call the published routine; return the image and the recorded noise levels, two more than the steps."""
    algorithm, tasks = (
        published.module(options.published, name) for name in ("algorithm_inv_prob", "inverse_tasks_func")
    )
    with contextlib.redirect_stdout(io.StringIO()):
        image, _, sigmas, _ = algorithm.univ_inv_sol(
            network.network, torch.zeros(shape, device=options.device), tasks.synthesis(), options.device,
            sig_0=SETTINGS["sigma_start"], sig_L=SETTINGS["sigma_end"], h0=SETTINGS["step"], beta=beta, freq=0,
            **arguments,
        )  # fmt: skip
    return image, sigmas


if __name__ == "__main__":
    main()
