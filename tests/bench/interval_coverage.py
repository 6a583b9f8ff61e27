"""Simulated coverage and width of 95 % intervals.

    python tests/bench/interval_coverage.py [--trials 4000]

Two tables:

1. Means of independent units, such as images of a classical denoiser. Units are normal, or skewed: gamma(1/2) less its
   mean. Both kinds of intervals are shown: studentised intervals, which boards show for means and paired differences,
   and percentiles of joint draws, which ranks and claims use. Below five units there is no interval.
2. Means of 6 networks over units and seeds, with equal spreads over seeds, and with a last network whose seeds spread
   three times as much; its spread is averaged over ``--datasets``. The paired difference is of the last two networks.

Widths are shown as mean and median: with few skewed units, some intervals are many times as wide as most. The
standard error of a coverage of 0.95 in 4000 trials is 0.003.
"""

import itertools

import harness
import numpy as np

from gahbench.board.statistics import interval, sampled_means, seed_spreads

DRAWS, ENTRANTS = 1000, 6
SEED_SPREAD, JOINT_SPREAD = 0.5, 0.2
DISTRIBUTIONS = {
    "normal": lambda generator, *shape: generator.normal(size=shape),
    # Values are divided by their standard deviation.
    "gamma(1/2)": lambda generator, *shape: (generator.gamma(0.5, size=shape) - 0.5) / np.sqrt(0.5),
}
SPREADS = {"equal": (1.0,) * ENTRANTS, "last 3 times": (1.0,) * (ENTRANTS - 1) + (3.0,)}


class Tally:
    """Coverage of 0 and widths of intervals."""

    def __init__(self):
        self.covered, self.widths = [], []

    def add(self, low, high):
        """Count one interval."""
        self.covered.append(low <= 0 <= high)
        self.widths.append(high - low)

    def __str__(self):
        if not np.isfinite(self.widths).any():
            return "no interval        "
        return f"{np.mean(self.covered):.3f}  {np.mean(self.widths):5.2f} {np.median(self.widths):5.2f}"


def networks(generator, spreads, seeds, units, distribution):
    """Return scores of networks, shape (E, R, N), whose expectations are 0, on the same units."""
    shared = DISTRIBUTIONS[distribution](generator, 1, 1, units)
    own = DISTRIBUTIONS[distribution](generator, len(spreads), 1, units)
    runs = np.asarray(spreads)[:, None, None] * generator.normal(size=(len(spreads), seeds, 1))
    return 0.8 * shared + 0.6 * own + runs + JOINT_SPREAD * generator.normal(size=(len(spreads), seeds, units))


def units_table(trials):
    """Print the coverage of means of units."""
    print("units        count  studentised: covered, width mean, median  percentiles of draws")
    for distribution, units in itertools.product(DISTRIBUTIONS, (2, 5, 24, 64)):
        generator = np.random.default_rng(units)
        studentised, percentiles = Tally(), Tally()
        for trial in range(trials):
            values = DISTRIBUTIONS[distribution](generator, 1, 1, units)
            sample = sampled_means(values, DRAWS, trial)
            studentised.add(*np.ravel(sample.ends()))
            percentiles.add(*np.ravel(interval(sample.draws())))
        print(f"{distribution:12} {units:5}  {studentised!s:41}  {percentiles}", flush=True)


def seeds_table(trials, datasets):
    """Print the coverage of means over units and seeds."""
    print("\nspreads       units       count  seeds  first: covered, width  last                  difference")
    cases = itertools.product(SPREADS, DISTRIBUTIONS, (5, 24, 64), (2, 3, 4, 5))
    for case, distribution, units, seeds in cases:
        spreads = SEED_SPREAD * np.asarray(SPREADS[case])
        generator = np.random.default_rng([units, seeds])
        names = [str(index) for index in range(ENTRANTS)]
        tallies = [Tally() for _ in range(3)]
        for trial in range(trials):
            scored = {
                str(index): (networks(generator, spreads, seeds, units, distribution), names)
                for index in range(datasets)
            }
            sample = sampled_means(scored["0"][0], DRAWS, trial, names, seed_spreads(scored.values()))
            # The first and the last network, and the paired difference of the last two.
            chosen = sample.apply(
                lambda array: array @ np.array([[1, 0, 0, 0, 0, 0], [0] * 5 + [1], [0] * 4 + [-1, 1]]).T
            )
            for tally, low, high in zip(tallies, *chosen.ends(), strict=True):
                tally.add(low, high)
        print(f"{case:13} {distribution:11} {units:5}  {seeds:5}  {'  '.join(map(str, tallies))}", flush=True)


def main():
    options = harness.options(__doc__, "--trials 20", trials=4000, datasets=4)
    units_table(options.trials)
    seeds_table(options.trials, options.datasets)


if __name__ == "__main__":
    main()
