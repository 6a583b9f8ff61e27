"""How often intervals cover the truth, and how often ranks are wrong, by simulation, with and without a rule.

    python tests/bench/interval_coverage.py [--trials 4000]

Each trial draws scores of 6 entrants, 2 or 3 training seeds, 48 images: an effect of each seed and image, and of both
together. Printed are, with and without the rule that leaves outliers over seeds out, the share of 95 % intervals of the
first and the last entrant that hold the truth, their mean width, the share of trials in which any rank is wrong where
all entrants are equal, and the share of the last one's intervals that hold the truth where its spread is from one
dataset alone. The last column is the share of the other entrants that the rule leaves out, and of the last one. An
entrant's spread is pooled over ``--datasets``.
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
    """Return scores (E, R, N) whose expectation is the truth, dB."""
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
        # Without the rule no share of honest entrants is beyond it.
        share = seed_effects.OUTLIER_SHARE if has_rule else 1e-30
        with mock.patch.object(seed_effects, "OUTLIER_SHARE", share):
            row = simulate(spreads, seeds, options.trials, options.datasets)
        print(f"{case:28} {'with' if has_rule else 'no':>4}  {seeds:5}  {row}", flush=True)


def simulate(spreads, seeds, trials, datasets):
    """Return the numbers of a row."""
    generator = np.random.default_rng(seeds)
    names = [str(place) for place in range(len(spreads))]
    held, width, out = np.zeros((3, len(spreads)))
    wrong, alone = 0, 0
    for trial in range(trials):
        many = {str(place): (scores(generator, spreads, seeds), names) for place in range(datasets)}
        first = many["0"][0]
        left = list(seed_effects.pool(means(first[..., None, :])).outliers)
        out[left] += 1
        draws = bootstrap_means(first, 1000, trial, names, seed_spreads(many))
        low, high = interval(draws)
        held += (low <= TRUTH) & (high >= TRUTH)
        width += high - low
        ranked = np.setdiff1d(np.arange(len(spreads)), left)
        wrong += bool((rank_intervals(first.mean((1, 2))[ranked], draws[:, ranked])[0] > 1).any())
        low, high = interval(bootstrap_means(first, 1000, trial, names))
        alone += low[-1] <= TRUTH <= high[-1]
    held, width, out = held / trials, width / trials, out / trials
    return (
        f"{held[0]:13.3f}  {width[0]:5.2f}  {held[-1]:12.3f}  {width[-1]:6.2f}  {wrong / trials:11.3f}  "
        f"{alone / trials:11.3f}  {out[:-1].mean():.4f}, {out[-1]:.4f}"
    )


if __name__ == "__main__":
    main()
