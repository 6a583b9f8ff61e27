"""Rows that have diverged, or whose seeds differ far more than others', change nothing of honest rows."""

import dataclasses

import numpy as np
import pytest
from fake_claims import claim, verdict
from fake_results import dataset, failure, results, rows

from gahbench.board.claim_values import Table
from gahbench.board.selection import selected
from gahbench.contracts.claims import Compared, Region

SIGMAS, SEEDS, IMAGES, DATASETS = (0.05, 0.2), 3, 12, ("d0", "d1", "d2")
#: About -107 dB, as of a network whose weights have grown without bound.
WILD = -107.0


def honest(generator, below=0.0):
    """PSNR (S, R, N) of an honest network: images are shared by all, seeds differ by 0.1 dB."""
    images = np.random.default_rng(7).normal(0, 1.5, (1, 1, IMAGES))
    seeds = 0.1 * generator.normal(size=(2, SEEDS, 1))
    each = 0.1 * generator.normal(size=(2, SEEDS, IMAGES))
    return np.array([30.0, 22.0])[:, None, None] - below + images + seeds + each


def set_to(value, *where):
    """Return a function that sets values at some levels, seeds and images."""

    def apply(values, generator, name):
        values[where] = value
        return values

    return apply


def spread_by(decibels, levels=slice(None), datasets=DATASETS):
    def apply(values, generator, name):
        if name in datasets:
            values[levels] += decibels * np.array([-1.0, 0.0, 1.0])[:, None]
        return values

    return apply


def wild(values, generator, name):
    return WILD + 20 * generator.normal(size=(2, SEEDS, 1)) + generator.normal(size=values.shape)


EVERY = slice(None)
#: By name: whether the entrant is a network, and a function of honest values, a generator, and the dataset's name.
BROKEN = {
    "diverged": (True, wild),
    "diverged at one level": (True, set_to(WILD, 1)),
    "diverged in one seed": (True, set_to(WILD, EVERY, 2)),
    "diverged on one dataset": (True, lambda values, *given: wild(values, *given) if given[1] == "d0" else values),
    "diverged on one image": (True, set_to(WILD, 0, 0, 3)),
    "not a number on some images": (True, set_to(np.nan, EVERY, EVERY, slice(0, 12, 5))),
    "infinite at one level": (True, set_to(np.inf, 0)),
    "minus infinity": (True, set_to(-np.inf)),
    "reference that is not a number": (False, set_to(np.nan, 1)),
    "spread of 10 dB": (True, spread_by(10.0)),
    "spread of 10 dB at one level": (True, spread_by(10.0, slice(1, 2))),
    "spread of 10 dB on one dataset": (True, spread_by(10.0, datasets=("d2",))),
    "one seed of three": (True, lambda values, *given: wild(values, *given)[:, :1]),
    "more seeds than others": (True, lambda values, *given: np.concatenate([values, wild(values, *given)], axis=1)),
    "one level of two": (True, lambda values, *given: wild(values, *given)[:1]),
    "some images, not a number": (
        True,
        lambda values, *given: set_to(np.nan, EVERY, 0)(values[..., : IMAGES // 2], *given),
    ),
    "fails": (True, None),
}
#: Datasets on which a broken entrant is an honest one.
HONEST_ON = {"diverged on one dataset": ("d1", "d2"), "spread of 10 dB on one dataset": ("d0", "d1")}
NETS = [f"net{number}" for number in range(5)]


def scored(name, label, is_network, psnr):
    """Rows of PSNR and of metrics that come of it: errors, and distances from the optimum."""
    found = []
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
            of_seed = values[:, seed or 0]
            found += rows(name, label, kind, of_seed, seed, SIGMAS[: len(of_seed)], metric)
    return found


def honest_rows():
    generator = np.random.default_rng(11)
    found = []
    for name in DATASETS:
        found += scored(name, "optimal", False, honest(generator, -2.0))
        found += scored(name, "classical", False, honest(generator, 0.4))
        for place, label in enumerate(NETS):
            found += scored(name, label, True, honest(generator, 0.15 * place))
    return found


def broken_rows(kind):
    is_network, apply = BROKEN[kind]
    generator = np.random.default_rng(3)
    values = {name: honest(generator, 0.2) for name in DATASETS}
    if apply is None:
        return {name: [] for name in DATASETS}
    return {name: scored(name, "broken", is_network, apply(one, generator, name)) for name, one in values.items()}


def board_of(scores, kind=None):
    failures = [failure(name, "broken", 0, "out of memory") for name in DATASETS] if kind == "fails" else []
    entrants = ["optimal", "classical", "broken", *NETS]
    facts = [dataset(name, 2 / 3, "exact") for name in DATASETS]
    return results(scores, (), failures, facts, entrants, "classical")


def cases_of(table):
    """What claims say that name all networks, and compare them with all other entrants."""
    asked = claim(Region(20.0, 40.0), entrants=("*",), datasets=("d*",))
    against = claim(Region(-1.0, 1.0), entrants=("net0",), datasets=("d*",), minus=Compared(entrant="*"))
    cases = [case for one in (asked, against) for case in verdict(one, Table("t", table)).cases]
    return [case for case in cases if case.outcome != "not measured"]


def facts_of(table):
    """What is said of each row, by a name: texts, and numbers."""
    texts, values = {}, {}
    for entry in table.board.entries:
        texts[entry.dataset, entry.entrant] = (entry.rank, entry.rank_high, entry.note, entry.marks, entry.seeds)
    for one in table.board.values:
        values[one.dataset, one.entrant, one.metric, one.part, one.sigma] = dataclasses.astuple(one.estimate)
    for row in table.means_over_datasets.rows:
        texts["all", row.entrant] = (row.rank, row.rank_high)
        values["all", row.entrant] = (*dataclasses.astuple(row.psnr), *dataclasses.astuple(row.gain))
    for name, found in table.rate_verdicts.items():
        for label, one in found.items():
            texts[name, label, "rate"] = (one.answer, one.reasons)
    for name, check in table.optimum_checks.items():
        for one in check.beyond:
            values[name, one.entrant, "beyond", one.sigma] = (one.standard_errors,)
    for case in cases_of(table):
        texts[case.dataset, case.entrant, case.count] = (case.outcome, case.at)
        values[case.dataset, case.entrant, case.count] = dataclasses.astuple(case.estimate)
    return texts, values


@pytest.fixture(scope="module")
def honest_facts():
    return facts_of(board_of(honest_rows()))


def board_with(kind):
    """A board of honest rows and those of a broken entrant."""
    return board_of(honest_rows() + [row for own in broken_rows(kind).values() for row in own], kind)


@pytest.mark.parametrize("kind", BROKEN)
def test_honest_rows_are_as_without_a_broken_one(kind, honest_facts):
    own = broken_rows(kind)
    texts, values = facts_of(board_with(kind))
    elsewhere = [row for name in HONEST_ON.get(kind, ()) for row in own[name]]
    expected_texts, expected = facts_of(board_of(honest_rows() + elsewhere)) if elsewhere else honest_facts
    assert {key: text for key, text in texts.items() if key in expected_texts} == expected_texts
    assert expected.keys() <= values.keys()
    for key, known in expected.items():
        np.testing.assert_allclose(values[key], known, rtol=1e-12, atol=1e-12, err_msg=str(key))
    for name in DATASETS:
        if name not in HONEST_ON.get(kind, ()):
            rank, rank_high, note, _, _ = texts[name, "broken"]
            assert rank is rank_high is None
            assert ("its seeds differ far more" if "spread" in kind else "diverged: ") in note or not own[name]
    assert texts.get(("all", "broken"), (None, None)) == (None, None)


def test_a_row_that_is_left_out_has_an_interval_of_its_own():
    table = board_with("spread of 10 dB")
    classical = [row for row in honest_rows() if row["entrant"] == "classical"]
    alone = board_of([row for own in broken_rows("spread of 10 dB").values() for row in own] + classical)
    for name in DATASETS:
        found, own = (one.board.of(name).estimate("broken", "psnr") for one in (table, alone))
        assert found.value == own.value
        # Effects are as those alone but for their sign.
        assert found.high - found.low == pytest.approx(own.high - own.low, rel=0.05)
        # A standard deviation of 10 dB and three seeds; the quantile of 2000 draws with two degrees of freedom varies.
        assert found.high - found.low == pytest.approx(2 * 4.303 * 10 / 3**0.5, rel=0.2)


def test_filters_keep_what_is_left_out():
    table = board_with("spread of 10 dB")
    chosen = selected(table, ["broken", "net0"])
    assert chosen.left_out["d0"].keys() == {"broken"}
    assert [entry.rank for entry in chosen.board.of("d0").entries if entry.entrant == "broken"] == [None]


def test_a_claim_on_a_row_that_is_left_out_is_not_measured():
    table = board_with("diverged")
    found = verdict(claim(Region(20.0, 40.0), entrants=("broken",), datasets=("d*",)), Table("t", table))
    assert found.outcome == "not measured"
    assert "broken on d0 is left out, diverged: an image has" in found.reason


def test_poor_rows_are_not_left_out():
    # Nothing but a grey image, and the noisy image where noise is twice as strong as the range of images.
    poor = rows("d", "grey", "classical", np.full((2, IMAGES), 4.0), None, (0.1, 2.0))
    noisy = rows("d", "noisy", "classical", [[20.0] * IMAGES, [-6.5] * IMAGES], None, (0.1, 2.0))
    assert results(poor + noisy, datasets=[dataset("d")]).left_out == {"d": {}}
