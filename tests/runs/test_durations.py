"""How long units take, by those that have finished."""

from dataclasses import replace

import pytest
from tiny_runs import units_of

from gahbench._util.resources import processor_name
from gahbench.contracts.unit import Unit
from gahbench.runs.durations import Durations, recorded_durations
from gahbench.store.store import Store

VALUES = {"discs": 100, "rays": 400}


def unit(kind="fit", dataset="discs", entrant="net[a=1]", name="net", work=1e9, metric=None, seconds=None, images=15):
    key = f"{kind} {dataset} {entrant} {metric} {work} {images}"
    payload = {"entrant": {"name": name}, "training": {"seconds": seconds}, "images": images, "sigmas": [0.1]}
    return Unit(kind, key, dataset, entrant, "architecture", 0, "test", metric, None, None, work, payload)


def score(metric="psnr", **given):
    return unit("score", metric=metric, **given)


class Recorded:
    """A store in which each unit has recorded its seconds."""

    def __init__(self, seconds):
        self.seconds = {unit.key: {name: value} for unit, (name, value) in seconds.items()}

    def done_record(self, unit):
        return self.seconds[unit.key]


def known(pairs):
    found = Durations()
    recorded = {one: ("train_seconds" if one.kind == "fit" else "seconds", value) for one, value in pairs}
    found.add(recorded, Recorded(recorded), VALUES)
    return found


def test_the_nearest_kind_of_unit_counts_in_proportion_to_its_work():
    wider, deep = unit(entrant="net[a=2]", work=2e9), unit(entrant="deep", name="deep")
    found = known([(unit(), 10.0), (wider, 40.0), (deep, 7.0)])
    # The same entrant on the same dataset, with twice the steps.
    assert found.estimate(unit(work=2e9), VALUES) == pytest.approx(20)
    # The same architecture with another width, on another dataset: the middle of 10 and 20 seconds for 1e9.
    assert found.estimate(unit(dataset="rays", entrant="net[a=3]", work=3e9), VALUES) == pytest.approx(45)
    # An architecture that has not run: the middle of all.
    assert found.estimate(unit(entrant="new", name="new"), VALUES) == pytest.approx(10)


def test_scores_are_in_proportion_to_images_levels_and_values():
    found = known([(score(), 2.0), (score(metric="spectrum"), 50.0)])
    assert found.estimate(score(images=30), VALUES) == pytest.approx(4)
    assert found.estimate(score(dataset="rays"), VALUES) == pytest.approx(8)
    assert found.estimate(score(metric="spectrum", entrant="other", name="other"), VALUES) == pytest.approx(50)


def test_a_budget_of_seconds_is_its_own_estimate():
    assert Durations().estimate(unit(work=float("inf"), seconds=90.0), VALUES) == 90
    assert known([(unit(), 10.0)]).estimate(unit(seconds=3), VALUES) == 3


def test_nothing_is_said_of_what_nothing_is_known():
    assert Durations().estimate(unit(), VALUES) is None
    assert known([(score(), 1.0)]).estimate(unit(), VALUES) is None
    # Work that is not known is not taken for none.
    found = known([(unit(work=0.0), 12.0)])
    assert found.estimate(unit(work=0.0), VALUES) == 12
    assert found.estimate(replace(unit(), entrant="x", work=5e9), VALUES) == 12


def test_few_units_of_a_kind_are_read(monkeypatch):
    monkeypatch.setattr("gahbench.runs.durations._MAX_PER_CATEGORY", 2)
    found = known([(unit(work=1e9 + place), float(place)) for place in (1, 2, 300)])
    assert found.estimate(unit(), VALUES) == pytest.approx(1.5, rel=1e-6)


def test_folders_beside_count_if_they_are_of_this_processor(tiny_run, tmp_path):
    processor = processor_name()
    wanted, values = score(dataset="discs[size=16]", entrant="identity", images=3), {"discs[size=16]": 256}
    (done,) = units_of(tiny_run, entrant="identity", metric="psnr")
    # It was scored at two noise levels.
    seconds = pytest.approx(Store(tiny_run).done_record(done)["seconds"] / 2)
    assert recorded_durations(tiny_run.parent / "second", processor).estimate(wanted, values) == seconds
    assert recorded_durations(tiny_run, processor).estimate(wanted, values) == seconds
    assert recorded_durations(tmp_path / "elsewhere" / "second", processor).estimate(wanted, values) is None
    assert recorded_durations(tiny_run, "another").estimate(wanted, values) is None
