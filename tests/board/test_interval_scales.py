"""Scales of intervals that metrics declare, and agreement of claims and boards."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from fake_results import dataset, results, rows
from published_pages import load_results

from gahbench.board.claims import Table
from gahbench.board.statistics import sampled_means
from gahbench.registry.registry import built_in_registry

SIGMAS = (0.1,)


def results_of(metric, values):
    """Return the estimate of a metric for one classical denoiser, on a board that knows the built-in plugins."""
    scores = [*rows("d", "a", "classical", np.full((1, 28), 30.0), None, SIGMAS)]
    scores += rows("d", "a", "classical", values[None], None, SIGMAS, metric=metric)
    board_results = results(scores, datasets=[dataset("d")])
    object.__setattr__(board_results, "registry", built_in_registry)
    name, _, part = metric.rpartition(".") if metric.endswith("retrieval") else (metric, "", "")
    return board_results.board.for_dataset("d").estimate("a", name, part)


@pytest.mark.parametrize(
    ("metric", "scale"),
    [
        ("direction[dct]", "linear"),
        ("pair-cosine", "linear"),
        ("unknown-metric", "linear"),
        ("alignment[dct].retrieval", "logit"),
        ("own-half", "logit"),
    ],
)
def test_the_scale_of_an_interval_is_that_of_the_metric_whatever_the_values(metric, scale):
    values = np.random.default_rng(0).uniform(0.02, 0.98, size=28)
    board_results = results_of(metric, values)
    low, high = sampled_means(values[None, None]).ends(scale)
    np.testing.assert_allclose([board_results.low, board_results.high], [low[0], high[0]])


def test_the_names_of_parts_of_metrics_with_a_scale_are_documented():
    for plugin in built_in_registry().plugins("metric"):
        declared = {name: plugin.attribute(name) or () for name in ("share_parts", "positive_parts")}
        for part in filter(None, itertools.chain(*declared.values())):
            is_ratio = part in plugin.factory.ratios
            documented = " ".join(str(base.__doc__) for base in plugin.factory.__mro__)
            assert is_ratio or f"``{part}``" in documented, (plugin.name, part)
        assert declared == {name: getattr(plugin.factory, name, ()) for name in declared}


def test_scales_are_read_without_importing_torch():
    code = (
        "import sys; from gahbench.registry.registry import built_in_registry;"
        "assert 'affine' in built_in_registry().get('metric', 'own-half').attribute('share_parts');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_the_ceiling_on_a_board_is_the_square_root_of_the_agreement_under_fresh_noise():
    agreement = np.array([0.25, 0.04, -0.5, *[0.16] * 25])
    scores = [*rows("d", "a", "classical", np.full((1, 28), 30.0), None, SIGMAS)]
    scores += rows("d", "a", "classical", agreement[None], None, SIGMAS, metric="direction[dct].ceiling")
    board = results(scores, datasets=[dataset("d")]).board.for_dataset("d")
    expected = (0.5 + 0.2 + 0.0 + 25 * 0.4) / 28
    assert board.estimate("a", "direction[dct]", "ceiling").value == pytest.approx(expected)


def test_claims_and_boards_have_the_same_intervals():
    quick = load_results("quick")
    table, compared = Table("quick", quick), 0
    for board in quick.board.datasets:
        for label in (label for name, label in table.labels if name == board.dataset):
            # Effects of seeds are drawn independently.
            tolerance = 0.0 if label.startswith(("bayes", "oracle")) else 0.25
            row = table.rows("psnr", "test", "")[board.dataset, label]
            for sigma, low, high in zip(row.sigmas, *row.sample.ends(), strict=True):
                expected = board.estimate(label, "psnr", sigma=sigma)
                half_width = (expected.high - expected.low) / 2
                np.testing.assert_allclose(
                    [low, high], [expected.low, expected.high], atol=1e-9 + tolerance * half_width
                )
                compared += 1
    assert compared > 20
