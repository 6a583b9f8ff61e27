"""What the posterior of discs costs, how well it is sampled, and how near the least error is to its limit.

Not a test: run it as ``python tests/bench/disc_posterior.py``. For each noise level it prints

- seconds for an image, by the clock and by the processor, the images denoised together;
- the smallest effective sample size over the images, as a share of the draws and as a number;
- the realised squared error of the posterior mean and the posterior's own trace, both over 5 sigma^2, 5 being the
  dimension of the manifold: the second is the expectation of the first, and both tend to 1 as sigma tends to 0;
- how many standard errors the two are apart.
"""

from __future__ import annotations

import argparse
import time

import smoke
import torch

from gahbench._util.noise import evaluation_noise
from gahbench_plugins.datasets._sampling import importance
from gahbench_plugins.datasets.discs import Discs

SIGMAS = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def main() -> None:
    """Run the benchmark."""
    options = smoke.parse(_parser(), "--images 2 --size 16 --sigmas 0.3 --threads 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = Discs(options.size)
    clean = dataset.images("test", options.images)
    print(f"{options.images} discs of {options.size}x{options.size}, {torch.get_num_threads()} threads")
    print("  sigma  s/image  cpu s/image  least effective (of draws)  error / 5 sigma^2   trace / 5 sigma^2  apart")
    dataset.posterior(clean[:2], 0.1)
    for sigma in options.sigmas:
        noisy = clean + evaluation_noise(len(clean), dataset.shape, sigma, "disc posterior")
        wall, processor = time.perf_counter(), time.process_time()
        posterior = dataset.posterior(noisy, sigma)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        unit = dataset.dimension * sigma**2
        errors = (posterior.mean - clean).double().square().flatten(1).sum(1) / unit
        traces = posterior.trace / unit
        assert posterior.ess_fraction is not None
        least = float(posterior.ess_fraction.min())
        print(
            f"{sigma:7g} {wall / len(clean):8.3f} {processor / len(clean):12.3f} "
            f"{least * importance.DRAWS:15.0f} or more ({least:4.0%}) "
            f"{_mean_and_error(errors):>20} {_mean_and_error(traces):>20} "
            f"{(errors - traces).mean() / _standard_error(errors - traces):6.1f}",
            flush=True,
        )


def _standard_error(values: torch.Tensor) -> float:
    return float(values.std() / len(values) ** 0.5)


def _mean_and_error(values: torch.Tensor) -> str:
    return f"{values.mean():.3f} +- {_standard_error(values):.3f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Cost and accuracy of the posterior of discs (CPU only).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=200, help="how many images")
    parser.add_argument("--size", type=int, default=32, help="side of the images")
    parser.add_argument("--sigmas", type=float, nargs="+", default=list(SIGMAS), help="noise levels")
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice if not given")
    return parser


if __name__ == "__main__":
    main()
