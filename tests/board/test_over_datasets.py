"""Means over datasets, with intervals over datasets."""

import numpy as np
import pytest
from fake_results import dataset, results, rows
from scipy.stats import t

from gahbench.report.tables import markdown

SIGMAS = (0.1, 0.2)


def made(gains, lacks=()):
    """Results of entrants whose gain over the first, dB, on each dataset is given."""
    count = len(next(iter(gains.values())))
    level = 30 + 5 * np.random.default_rng(0).normal(size=(count, 1, 8))
    scores = [
        row
        for label, more in gains.items()
        for place in range(count)
        if (label, place) not in lacks
        for row in rows(f"d{place}", label, "classical", level[place] + more[place] + np.zeros((2, 8)), None, SIGMAS)
    ]
    return results(scores, datasets=[dataset(f"d{place}") for place in range(count)], baseline=next(iter(gains)))


def test_gains_have_intervals_over_datasets():
    gains = np.array([1.0, 1.2, 0.7, 1.4, 0.9, 1.1])
    row = made({"a": np.zeros(6), "b": gains}).over_datasets().set_index("entrant").loc["b"]
    assert row["gain_over_baseline"] == pytest.approx(gains.mean())
    half = t.ppf(0.975, 5) * gains.std(ddof=1) / 6**0.5
    width = row["gain_over_baseline_high"] - row["gain_over_baseline_low"]
    assert width == pytest.approx(2 * half, rel=0.2)
    # Datasets differ by 5 dB, which gains do not see.
    assert row["psnr_high"] - row["psnr_low"] > 5 * width


def test_ranks_are_of_paired_differences():
    table = made({"a": np.zeros(4), "b": [1.0, 1.1, 0.9, 1.0], "c": [3.0, -2.0, 0.5, -3.0]}).over_datasets()
    assert table["entrant"].tolist() == ["b", "a", "c"]
    ranks = table.set_index("entrant")
    assert ranks.loc["a", "rank"] == 2
    assert (ranks.loc["c", "rank"], ranks.loc["c", "rank_high"]) == (1, 3)


def test_of_two_datasets_there_is_none():
    assert made({"a": [0.0, 0.0], "b": [1.0, 1.0]}).over_datasets().empty
    assert "All datasets" not in markdown(made({"a": [0.0, 0.0], "b": [1.0, 1.0]}))


def test_what_was_not_scored_on_all_is_left_out():
    one = made({"a": [0.0] * 3, "b": [1.0] * 3}, lacks={("b", 1)})
    assert one.over_datasets()["entrant"].tolist() == ["a"]
    assert "**Means over 3 datasets, of what was scored on all; ± is over datasets**" in markdown(one)
