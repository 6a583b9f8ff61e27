"""How often intervals cover the truth, and how often ranks are wrong, by simulation.

    python tests/bench/interval_coverage.py [--trials 4000]

Each trial draws scores of 6 entrants, 2 or 3 training seeds, 48 images: an effect of each seed and image, and of both
together. Printed are the share of 95 % intervals that hold the truth, their mean width, and the share of trials in
which any rank is wrong where all entrants are equal.
"""

import argparse

import numpy as np
import smoke

from gahbench.board.ranks import rank_intervals
from gahbench.board.statistics import bootstrap_means, interval, seed_spreads

IMAGE_SPREAD, JOINT_SPREAD, IMAGES = 0.3, 0.1, 48
CASES = {
    "equal variances": (0.25,) * 6,
    "one with 3 times the spread": (0.25,) * 5 + (0.75,),
    "seeds hardly matter": (0.01,) * 6,
    "two entrants": (0.25,) * 2,
}


def scores(generator: np.random.Generator, spreads: tuple[float, ...], seeds: int) -> np.ndarray:
    """Return scores (E, R, N) whose expectation is 0, dB."""
    images = IMAGE_SPREAD * generator.normal(size=(len(spreads), 1, IMAGES))
    own = np.asarray(spreads)[:, None, None] * generator.normal(size=(len(spreads), seeds, 1))
    return images + own + JOINT_SPREAD * generator.normal(size=(len(spreads), seeds, IMAGES))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--datasets", type=int, default=4, help="over which an entrant's spread is pooled")
    options = smoke.parse(parser, "--trials 20")
    print("case                          seeds  first covered  width  last covered  width  wrong ranks  last of few")
    for case, spreads in CASES.items():
        for seeds in (2, 3):
            print(f"{case:28}  {seeds:5}  " + _row(spreads, seeds, options.trials, options.datasets), flush=True)


def _row(spreads: tuple[float, ...], seeds: int, trials: int, datasets: int) -> str:
    generator = np.random.default_rng(seeds)
    names = [str(place) for place in range(len(spreads))]
    held, width, wrong, alone = np.zeros(len(spreads)), np.zeros(len(spreads)), 0, 0
    for trial in range(trials):
        many = {str(place): (scores(generator, spreads, seeds), names) for place in range(datasets)}
        first = many["0"][0]
        draws = bootstrap_means(first, 1000, trial, names, seed_spreads(many))
        low, high = interval(draws)
        held += (low <= 0) & (high >= 0)
        width += high - low
        wrong += bool((rank_intervals(first.mean((1, 2)), draws)[0] > 1).any())
        low, high = interval(bootstrap_means(first, 1000, trial, names))
        alone += low[-1] <= 0 <= high[-1]
    held, width = held / trials, width / trials
    return (
        f"{held[0]:13.3f}  {width[0]:5.2f}  {held[-1]:12.3f}  {width[-1]:5.2f}  {wrong / trials:11.3f}  "
        f"{alone / trials:11.3f}"
    )


if __name__ == "__main__":
    main()
