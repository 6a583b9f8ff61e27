"""Simulated coverage of intervals and error rate of ranks, with and without the rule that excludes outliers.

    python tests/bench/interval_coverage.py [--trials 4000]

Each trial draws scores of 6 entrants, 2 or 3 training seeds and 48 images, with effects of seeds, of images, and of
their combinations. The table shows, with and without the rule that excludes outliers over seeds: the coverage and mean
width of the 95 % intervals of the first and the last entrant; the share of trials with any wrong rank, as all entrants
are equal; and the coverage of the last entrant's intervals if its spread is estimated from one dataset. The last column
is the share of the other entrants, and of the last entrant, that the rule excludes. The spread of an entrant is pooled
over ``--datasets``.
"""

import itertools
from unittest import mock

import harness
import numpy as np

from gahbench.board import seed_effects
from gahbench.board.ranks import rank_intervals
from gahbench.board.statistics import bootstrap_means, interval, means, seed_spreads

TRUTH, IMAGE_SPREAD, JOINT_SPREAD, IMAGES = 30.0, 0.3, 0.1, 48
CASES = {
    "equal variances": (0.25,) * 6,
    "one with 3 times the spread": (0.25,) * 5 + (0.75,),
    "one diverged, 20 dB": (0.25,) * 5 + (20.0,),
    "seeds hardly matter": (0.01,) * 6,
    "two entrants": (0.25,) * 2,
}


def scores(generator, spreads, seeds):
    """Return scores in dB, shape (E, R, N), whose expectation is TRUTH."""
    images = IMAGE_SPREAD * generator.normal(size=(len(spreads), 1, IMAGES))
    own = np.asarray(spreads)[:, None, None] * generator.normal(size=(len(spreads), seeds, 1))
    return TRUTH + images + own + JOINT_SPREAD * generator.normal(size=(len(spreads), seeds, IMAGES))


def main():
    options = harness.options(__doc__, "--trials 20", trials=4000, datasets=4)
    print(
        "case                         rule  seeds  first covered  width  last covered   width  wrong ranks  last of few"
        "  left out: others, last"
    )
    for (case, spreads), seeds, has_rule in itertools.product(CASES.items(), (2, 3), (True, False)):
        # A tiny share turns the rule off.
        share = seed_effects.OUTLIER_SHARE if has_rule else 1e-30
        with mock.patch.object(seed_effects, "OUTLIER_SHARE", share):
            row = simulate(spreads, seeds, options.trials, options.datasets)
        print(f"{case:28} {'with' if has_rule else 'no':>4}  {seeds:5}  {row}", flush=True)


def simulate(spreads, seeds, trials, datasets):
    """Run the trials of a case, and return the numbers of its row."""
    generator = np.random.default_rng(seeds)
    names = [str(index) for index in range(len(spreads))]
    covered, width, excluded = np.zeros((3, len(spreads)))
    wrong, covered_alone = 0, 0
    for trial in range(trials):
        scored = {str(index): (scores(generator, spreads, seeds), names) for index in range(datasets)}
        first = scored["0"][0]
        outliers = list(seed_effects.pool(means(first[..., None, :])).outliers)
        excluded[outliers] += 1
        draws = bootstrap_means(first, 1000, trial, names, seed_spreads(scored))
        low, high = interval(draws)
        covered += (low <= TRUTH) & (high >= TRUTH)
        width += high - low
        ranked = np.setdiff1d(np.arange(len(spreads)), outliers)
        wrong += bool((rank_intervals(first.mean((1, 2))[ranked], draws[:, ranked])[0] > 1).any())
        low, high = interval(bootstrap_means(first, 1000, trial, names))
        covered_alone += low[-1] <= TRUTH <= high[-1]
    covered, width, excluded = covered / trials, width / trials, excluded / trials
    return (
        f"{covered[0]:13.3f}  {width[0]:5.2f}  {covered[-1]:12.3f}  {width[-1]:6.2f}  {wrong / trials:11.3f}  "
        f"{covered_alone / trials:11.3f}  {excluded[:-1].mean():.4f}, {excluded[-1]:.4f}"
    )


if __name__ == "__main__":
    main()
