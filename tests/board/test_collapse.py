import numpy as np
import pytest
from fake_results import dataset, results
from hypothesis import given
from hypothesis import strategies as st

from gahbench.board.rate_courses import collapsed_levels, families, is_paired, of_one_master
from gahbench.board.rate_verdicts import longest_run

EPSILONS = np.array([0.001, 0.002, 0.004, 0.008])


def curves(by_size):
    """Errors at EPSILONS, by size."""
    return {size: (EPSILONS * size, np.asarray(errors, dtype=float)) for size, errors in by_size.items()}


def sized(*names):
    sides = {name: int(name.split("size=")[1].split(",")[0].rstrip("]")) if "size=" in name else 64 for name in names}
    return results([], datasets=[dataset(name) | {"height": side, "width": side} for name, side in sides.items()])


def test_errors_at_the_same_noise_per_side_are_compared():
    tenth = 10**0.01  # .1 dB
    made = curves({32: [1, 2, 3, 4], 64: [2, 2 * tenth * 1.001, 3 * tenth * 0.999, 4]})
    for size in (32, 64):
        assert collapsed_levels(size, made).tolist() == [False, False, True, True]


def test_the_largest_pair_of_at_most_the_size_decides():
    made = curves({16: [1, 1, 1, 1], 32: [1, 1, 2, 2], 64: [1, 2, 2, 1], 128: [9, 2, 9, 1]})
    assert collapsed_levels(16, made).tolist() == [True, True, False, False]
    assert collapsed_levels(32, made).tolist() == [True, False, True, False]
    assert collapsed_levels(64, made).tolist() == collapsed_levels(128, made).tolist() == [False, True, False, True]
    # What is not known there is decided by smaller images.
    made[128][1][:] = np.nan
    assert collapsed_levels(128, made).tolist() == collapsed_levels(32, made).tolist()


def test_levels_that_are_not_the_same_are_not_compared():
    shifted = {32: (np.array([0.1, 0.2]), np.ones(2)), 64: (np.array([0.2005, 0.39]), np.ones(2))}
    assert collapsed_levels(32, shifted).tolist() == [False, False]
    shifted[64] = (np.array([0.20001, 0.39999]), np.ones(2))
    assert collapsed_levels(32, shifted).tolist() == [True, True]


@given(st.floats(1e-6, 1e6), st.integers(0, 3))
def test_the_unit_of_the_errors_does_not_matter(unit, at):
    plain = {32: [1, 2, 3, 4], 64: [1.01, 2.2, 2.99, 4.5]}
    scaled = {size: [unit * error for error in errors] for size, errors in plain.items()}
    assert collapsed_levels(32, curves(plain))[at] == collapsed_levels(32, curves(scaled))[at]


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [(32, [32, 64], True), (64, [32, 64], True), (16, [32, 64], False), (64, [32, 128], False), (32, [32], False)],
)
def test_a_pair_is_a_size_and_its_double(size, sides, expected):
    assert is_paired(size, sides) is expected


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_the_longest_run_is_of_neighbours_that_are_all_chosen(chosen):
    run = longest_run(chosen, 2.0 ** np.arange(len(chosen)))
    assert all(chosen[run])
    runs = [len(part) for part in "".join("x" if yes else " " for yes in chosen).split()]
    assert run.stop - run.start == max(runs, default=0)


def test_the_longest_run_is_longest_in_decibels():
    assert longest_run([True, True, True, False, True, True], [1, 2, 4, 8, 16, 200]) == slice(4, 6)


def test_families_differ_in_size_alone_and_masters_are_the_same():
    names = [
        "c-alpha[alpha=4,size=32,master=256]",
        "c-alpha[alpha=4,master=256]",
        "c-alpha[alpha=4,size=128,master=512]",
        "c-alpha[alpha=4,size=32]",
        "c-alpha[alpha=4,size=128]",
    ]
    made = sized(*names)
    assert families(made)["c-alpha[alpha=4]"] == {32: names[3], 128: names[4]}
    assert of_one_master(made) == {
        "c-alpha[alpha=4,master=256]": {32: names[0], 64: names[1]},
        "c-alpha[alpha=4,master=512]": {128: names[2]},
    }
    assert families(sized("a label, of the suite's")) == {}
