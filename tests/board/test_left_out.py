"""Entrants that have diverged do not change honest rows."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
from fake_claims import claim, verdict
from fake_results import dataset, failure, results, rows

from gahbench.board.claims import Table
from gahbench.contracts.claims import Compared, Region

SIGMAS, SEEDS, IMAGES, DATASETS = (0.05, 0.2), 3, 12, ("d0", "d1", "d2")
#: PSNR of a network whose weights have grown without bound, in dB.
DIVERGED_PSNR = -107.0


def honest(generator, below=0.0):
    """Return PSNR (S, R, N) of an honest network: the difficulty of images is shared, seeds differ by 0.1 dB."""
    images = np.random.default_rng(7).normal(0, 1.5, (1, 1, IMAGES))
    seeds = 0.1 * generator.normal(size=(2, SEEDS, 1))
    residuals = 0.1 * generator.normal(size=(2, SEEDS, IMAGES))
    return np.array([30.0, 22.0])[:, None, None] - below + images + seeds + residuals


def set_to(value, *where):
    """Return a function that sets values at some levels, seeds and images."""

    def apply(values, generator, name):
        values[where] = value
        return values

    return apply


def diverged(values, generator, name):
    return DIVERGED_PSNR + 20 * generator.normal(size=(2, SEEDS, 1)) + generator.normal(size=values.shape)


ALL = slice(None)
#: Kinds of broken entrants: whether the entrant is a network, and a function of values, generator and dataset.
BREAKAGES = {
    "diverged": (True, diverged),
    "diverged at one level": (True, set_to(DIVERGED_PSNR, 1)),
    "diverged in one seed": (True, set_to(DIVERGED_PSNR, ALL, 2)),
    "diverged on one dataset": (True, lambda values, *given: diverged(values, *given) if given[1] == "d0" else values),
    "diverged on one image": (True, set_to(DIVERGED_PSNR, 0, 0, 3)),
    "not a number on some images": (True, set_to(np.nan, ALL, ALL, slice(0, 12, 5))),
    "infinite at one level": (True, set_to(np.inf, 0)),
    "minus infinity": (True, set_to(-np.inf)),
    "reference that is not a number": (False, set_to(np.nan, 1)),
    "one seed of three": (True, lambda values, *given: diverged(values, *given)[:, :1]),
    "more seeds than others": (True, lambda values, *given: np.concatenate([values, diverged(values, *given)], axis=1)),
    "one level of two": (True, lambda values, *given: diverged(values, *given)[:1]),
    "some images, not a number": (
        True,
        lambda values, *given: set_to(np.nan, ALL, 0)(values[..., : IMAGES // 2], *given),
    ),
    "fails": (True, None),
}
#: Datasets on which a broken entrant has honest values.
HONEST_ON = {"diverged on one dataset": ("d1", "d2")}
NETS = [f"net{number}" for number in range(5)]


def score_rows(name, label, is_network, psnr):
    """Return rows of PSNR and of metrics derived from it: errors, and distances from the optimum."""
    all_rows = []
    error = 10 ** (-psnr / 10)
    metrics = {
        "psnr": psnr,
        "optimality-slope.error": error,
        "optimality-slope.bound": np.where(np.isnan(error), error, 1e-4),
        "optimum-distance": error / 2,
        "optimum-distance.optimal-error": np.full(error.shape, 1e-4),
        "optimum-cross": error * np.linspace(-1, 1.1, error.shape[2]),
    }
    for metric, values in metrics.items():
        for seed in range(values.shape[1]) if is_network else [None]:
            kind = "trained" if is_network else "optimal" if label == "optimal" else "classical"
            seed_values = values[:, seed or 0]
            all_rows += rows(name, label, kind, seed_values, seed, SIGMAS[: len(seed_values)], metric)
    return all_rows


@functools.cache
def honest_rows():
    generator = np.random.default_rng(11)
    all_rows = []
    for name in DATASETS:
        all_rows += score_rows(name, "optimal", False, honest(generator, -2.0))
        all_rows += score_rows(name, "classical", False, honest(generator, 0.4))
        for index, label in enumerate(NETS):
            all_rows += score_rows(name, label, True, honest(generator, 0.15 * index))
    return all_rows


def broken_rows(kind):
    is_network, apply = BREAKAGES[kind]
    generator = np.random.default_rng(3)
    values = {name: honest(generator, 0.2) for name in DATASETS}
    if apply is None:
        return {name: [] for name in DATASETS}
    return {
        name: score_rows(name, "broken", is_network, apply(honest_values, generator, name))
        for name, honest_values in values.items()
    }


def results_of(scores, kind=None):
    failures = [failure(name, "broken", 0, "out of memory") for name in DATASETS] if kind == "fails" else []
    entrants = ["optimal", "classical", "broken", *NETS]
    facts = [dataset(name, 2 / 3, "exact") for name in DATASETS]
    return results(scores, (), failures, facts, entrants, "classical")


def cases_of(table):
    """Return the measured cases of a claim about all networks, and of a comparison with all other entrants."""
    about_all = claim(Region(20.0, 40.0), entrants=("*",), datasets=("d*",))
    compared = claim(Region(-1.0, 1.0), entrants=("net0",), datasets=("d*",), minus=Compared(entrant="*"))
    cases = [case for claim in (about_all, compared) for case in verdict(claim, Table("t", table)).cases]
    return [case for case in cases if case.outcome != "not measured"]


def facts_of(table):
    """Return texts and numbers about each row, by key."""
    texts, values = {}, {}
    for entry in table.board.entries:
        texts[entry.dataset, entry.entrant] = (entry.rank, entry.rank_high, entry.note, entry.flags, entry.seeds)
    for *key, value, low, high in table.board.frame.fillna({"sigma": -1.0}).itertuples(index=False, name=None):
        values[tuple(key)] = (value, low, high)
    for row in table.over_datasets().itertuples(index=False):
        texts["all", row.entrant] = (row.rank, row.rank_high)
        values["all", row.entrant] = row[4:-1]
    for name, curves in table.deficit_curves.items():
        for label, item in curves.items():
            values[name, label, "deficits"] = tuple(item.deficits)
    for name, check in table.optimum_checks.items():
        for item in check.violations:
            values[name, item.entrant, "violation", item.sigma] = (item.standard_errors,)
    for case in cases_of(table):
        texts[case.dataset, case.entrant, case.count] = (case.outcome, case.at)
        values[case.dataset, case.entrant, case.count] = dataclasses.astuple(case.estimate)
    return texts, values


@pytest.fixture(scope="module")
def honest_facts():
    return facts_of(results_of(honest_rows()))


def board_with(kind):
    """Return a board of honest rows and the rows of a broken entrant."""
    return results_of(
        honest_rows() + [row for dataset_rows in broken_rows(kind).values() for row in dataset_rows], kind
    )


@pytest.mark.parametrize("kind", BREAKAGES)
def test_a_broken_entrant_does_not_change_honest_rows(kind, honest_facts):
    broken = broken_rows(kind)
    texts, values = facts_of(board_with(kind))
    honest_elsewhere = [row for name in HONEST_ON.get(kind, ()) for row in broken[name]]
    expected_texts, expected = (
        facts_of(results_of(honest_rows() + honest_elsewhere)) if honest_elsewhere else honest_facts
    )
    assert {key: text for key, text in texts.items() if key in expected_texts} == expected_texts
    assert expected.keys() <= values.keys()
    for key, expected_value in expected.items():
        np.testing.assert_allclose(values[key], expected_value, rtol=1e-12, atol=1e-12, err_msg=str(key))
    for name in DATASETS:
        if name not in HONEST_ON.get(kind, ()):
            rank, rank_high, note, _, _ = texts[name, "broken"]
            assert rank is rank_high is None
            assert "diverged: " in note or not broken[name]
    assert all(map(pd.isna, texts.get(("all", "broken"), ())))


def test_a_row_that_is_left_out_has_the_interval_that_it_would_have_alone_and_supports_no_claim():
    table = board_with("diverged")
    classical = [row for row in honest_rows() if row["entrant"] == "classical"]
    alone = results_of([row for own_rows in broken_rows("diverged").values() for row in own_rows] + classical)
    for name in DATASETS:
        interval, own_interval = (board.board.select([name]).estimate("broken", "psnr") for board in (table, alone))
        assert interval.value == own_interval.value
        # The drawn effects of seeds may have opposite signs on the two boards, so only widths are compared.
        assert interval.high - interval.low == pytest.approx(own_interval.high - own_interval.low, rel=0.05)
    chosen = table.select(["broken", "net0"])
    assert chosen.left_out["d0"].keys() == {"broken"}
    assert [entry.rank for entry in chosen.board.select(["d0"]).entries if entry.entrant == "broken"] == [None]
    result = verdict(claim(Region(20.0, 40.0), entrants=("broken",), datasets=("d*",)), Table("t", table))
    assert result.outcome == "not measured"
    assert "broken on d0 is left out, diverged: an image has" in result.decisive.reason


def test_poor_rows_are_not_left_out():
    # One row returns a grey image, the other the noisy image at twice the range of images.
    poor = rows("d", "grey", "classical", np.full((2, IMAGES), 4.0), None, (0.1, 2.0))
    noisy = rows("d", "noisy", "classical", [[20.0] * IMAGES, [-6.5] * IMAGES], None, (0.1, 2.0))
    assert results(poor + noisy, datasets=[dataset("d")]).left_out == {"d": {}}
