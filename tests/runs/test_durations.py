"""Tests of estimated durations of units."""

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
    return Unit(kind, key, dataset, entrant, "architecture", 0, "test", metric, None, work, payload)


def score(metric="psnr", **options):
    return unit("score", metric=metric, **options)


class Recorded:
    """A store whose units have recorded durations."""

    def __init__(self, seconds):
        self.seconds = {unit.key: {name: value} for unit, (name, value) in seconds.items()}

    def done_record(self, unit):
        return self.seconds[unit.key]


def durations_of(pairs):
    durations = Durations()
    recorded = {unit: ("train_seconds" if unit.kind == "fit" else "seconds", value) for unit, value in pairs}
    durations.add(recorded, Recorded(recorded), VALUES)
    return durations


def test_estimates_use_the_most_specific_category_in_proportion_to_work():
    wider, deep = unit(entrant="net[a=2]", work=2e9), unit(entrant="deep", name="deep")
    durations = durations_of([(unit(), 10.0), (wider, 40.0), (deep, 7.0)])
    # This unit has the same entrant and dataset, with twice the work.
    assert durations.estimate(unit(work=2e9), VALUES) == pytest.approx(20)
    # This architecture has run with other parameters, on another dataset: 15 seconds, the median of 10 and 20, for 1e9.
    assert durations.estimate(unit(dataset="rays", entrant="net[a=3]", work=3e9), VALUES) == pytest.approx(45)
    # This architecture has not run, so the estimate is the median over all units.
    assert durations.estimate(unit(entrant="new", name="new"), VALUES) == pytest.approx(10)


def test_estimates_of_scores_are_proportional_to_images_levels_and_values():
    durations = durations_of([(score(), 2.0), (score(metric="spectrum"), 50.0)])
    assert durations.estimate(score(images=30), VALUES) == pytest.approx(4)
    assert durations.estimate(score(dataset="rays"), VALUES) == pytest.approx(8)
    assert durations.estimate(score(metric="spectrum", entrant="other", name="other"), VALUES) == pytest.approx(50)


def test_a_time_budget_is_its_own_estimate():
    assert Durations().estimate(unit(work=float("inf"), seconds=90.0), VALUES) == 90
    assert durations_of([(unit(), 10.0)]).estimate(unit(seconds=3), VALUES) == 3


def test_there_is_no_estimate_without_similar_units():
    assert Durations().estimate(unit(), VALUES) is None
    assert durations_of([(score(), 1.0)]).estimate(unit(), VALUES) is None
    # Unknown work is not taken for zero work.
    durations = durations_of([(unit(work=0.0), 12.0)])
    assert durations.estimate(unit(work=0.0), VALUES) == 12
    assert durations.estimate(replace(unit(), entrant="x", work=5e9), VALUES) == 12


def test_only_a_few_units_of_a_category_are_read(monkeypatch):
    monkeypatch.setattr("gahbench.runs.durations._MAX_PER_CATEGORY", 2)
    durations = durations_of([(unit(work=1e9 + number), float(number)) for number in (1, 2, 300)])
    assert durations.estimate(unit(), VALUES) == pytest.approx(1.5, rel=1e-6)


def test_neighbouring_folders_count_if_they_ran_on_this_processor(tiny_run, tmp_path):
    processor = processor_name()
    wanted, values = score(dataset="discs[size=16]", entrant="identity", images=3), {"discs[size=16]": 256}
    (done,) = units_of(tiny_run, entrant="identity", metric="psnr")
    # The finished unit was scored at two noise levels.
    seconds = pytest.approx(Store(tiny_run).done_record(done)["seconds"] / 2)
    assert recorded_durations(tiny_run.parent / "second", processor).estimate(wanted, values) == seconds
    assert recorded_durations(tiny_run, processor).estimate(wanted, values) == seconds
    assert recorded_durations(tmp_path / "elsewhere" / "second", processor).estimate(wanted, values) is None
    assert recorded_durations(tiny_run, "another").estimate(wanted, values) is None
