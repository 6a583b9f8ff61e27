"""The choice of a precision, with a fake clock."""

import errno
import json

import pytest
import torch
from torch import nn

from gahbench.devices.hardware import Hardware
from gahbench.networks import precision as module
from gahbench.networks.precision import MAX_SHARE, MIN_GAIN, Choices, measure

CPU = torch.device("cpu")


class Clock:
    """A fake clock that each pass advances by given seconds."""

    def __init__(self, monkeypatch, float32, bfloat16):
        self.now, self.cost = 0.0, {"float32": float32, "bfloat16": bfloat16}
        self.passes = []
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def run(self, precision):
        self.passes.append(precision)
        self.now += self.cost[precision]


@pytest.fixture(autouse=True)
def _with_bfloat16(monkeypatch):
    """Pretend that the machine has bfloat16 instructions."""
    monkeypatch.setattr(Hardware, "has_bfloat16", True)


@pytest.mark.parametrize(
    ("gain", "expected"), [(0.7, "float32"), (1.0, "float32"), (1.14, "float32"), (1.16, "bfloat16"), (3.0, "bfloat16")]
)
def test_bfloat16_is_chosen_only_if_it_is_faster_by_a_margin(monkeypatch, gain, expected):
    clock = Clock(monkeypatch, 0.1, 0.1 / gain)
    choice = measure(clock.run, 10_000, CPU)
    assert choice.precision == expected
    assert choice.seconds["float32"] / choice.seconds["bfloat16"] == pytest.approx(gain, rel=1e-3)
    assert (gain >= MIN_GAIN) is (expected == "bfloat16")


@pytest.mark.parametrize("passes", [1_000, 3_000, 100_000])
@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_timing_takes_at_most_a_hundredth_of_the_work(monkeypatch, passes, slower):
    clock = Clock(monkeypatch, 0.1, 0.1 * slower)
    measure(clock.run, passes, CPU)
    assert "bfloat16" in clock.passes
    assert clock.now <= MAX_SHARE * passes * 0.1


@pytest.mark.parametrize(("passes", "seconds"), [(1_000, 0.059), (50_000, 0.001), (300, 0.1)])
def test_short_work_uses_float32_without_timing_bfloat16(monkeypatch, passes, seconds):
    clock = Clock(monkeypatch, seconds, seconds / 10)
    choice = measure(clock.run, passes, CPU)
    assert choice.precision == "float32"
    assert "bfloat16" not in clock.passes
    assert len(clock.passes) <= 2
    assert clock.now <= MAX_SHARE * passes * seconds


def test_work_of_few_passes_is_not_timed(monkeypatch):
    clock = Clock(monkeypatch, 100.0, 1.0)
    assert measure(clock.run, 100, CPU).precision == "float32"
    assert clock.passes == []


def test_a_single_slow_pass_does_not_change_the_choice(monkeypatch):
    clock = Clock(monkeypatch, 0.1, 0.05)

    def run(precision):
        clock.passes.append(precision)
        clock.now += 5.0 if clock.passes.count("bfloat16") == 2 and precision == "bfloat16" else clock.cost[precision]

    assert measure(run, 100_000, CPU).precision == "bfloat16"


def test_a_network_that_fails_in_bfloat16_uses_float32(monkeypatch):
    clock = Clock(monkeypatch, 0.1, 0.1)

    def run(precision):
        clock.run(precision)
        if precision == "bfloat16":
            raise RuntimeError("expected float, but found BFloat16")

    choice = measure(run, 10_000, CPU)
    assert choice.precision == "float32"
    assert "BFloat16" in choice.reason


@pytest.fixture
def choose(monkeypatch, tmp_path):
    """Return a function that chooses a precision for some work; its attribute ``clock`` is the fake clock."""
    clock = Clock(monkeypatch, 0.1, 0.05)

    def run(work="training", width=2, side=8, passes=10_000, choices=None, run=clock.run):
        choices = choices or Choices(tmp_path)
        return choices.make(work, nn.Conv2d(1, width, 3), (4, 1, side, side), CPU, passes, run)

    run.clock = clock
    return run


def test_a_choice_is_made_once_per_folder_network_and_shape(choose, tmp_path):
    choices, passes = Choices(tmp_path), choose.clock.passes
    first = choose(choices=choices)
    assert first.precision == "bfloat16"
    count = len(passes)
    # Other seeds and processes use the same choice, even if the speed of the machine has changed.
    choose.clock.cost["bfloat16"] = 1.0
    assert choose(choices=choices).precision == "bfloat16"
    assert choose() == first
    assert len(passes) == count
    # Other widths, shapes and kinds of work are timed separately.
    for given in ({"width": 3}, {"side": 9}, {"work": "jacobian"}):
        count = len(passes)
        assert choose(**given).precision == "float32"
        assert len(passes) > count


def test_the_measurement_is_recorded(choose, tmp_path):
    choose()
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    assert content["precision"] == "bfloat16"
    assert content["seconds"] == {"float32": 0.1, "bfloat16": 0.05}
    assert content["shape"] == [4, 1, 8, 8]
    assert content["threads"] == torch.get_num_threads()


def test_a_different_choice_on_another_machine_is_noted(monkeypatch, choose):
    for name in ("with matrix units", "without them"):
        monkeypatch.setattr(module, "processor_name", lambda name=name: name)
        choice = choose()
        assert (choice.precision, choice.note) == ("bfloat16", None)
    monkeypatch.setattr(module, "processor_name", lambda: "a third")
    choose.clock.cost["bfloat16"] = 0.2
    other = choose()
    assert other.precision == "float32"
    assert "with matrix units" in other.note or "without them" in other.note
    # The note is there for the next seed, too.
    assert choose().note == other.note


@pytest.mark.parametrize("content", ["", "{}", '{"precision": "float16", "seconds": {}, "reason": ""}', "[]"])
def test_a_damaged_record_is_measured_again_and_replaced(choose, tmp_path, content):
    choose()
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert choose().precision == "bfloat16"
    count = len(choose.clock.passes)
    # The damaged file was replaced.
    assert choose().precision == "bfloat16"
    assert len(choose.clock.passes) == count
    assert list(tmp_path.iterdir()) == [file]


def test_the_first_of_two_concurrent_measurements_decides(monkeypatch, choose):
    clock, slower = choose.clock, Clock(monkeypatch, 0.1, 0.2)
    first_choice = []

    def run(precision):
        # Another worker measures and writes its choice meanwhile.
        if not first_choice:
            first_choice.append(choose(run=slower.run))
        clock.run(precision)
        slower.now = clock.now

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock.now + slower.now)
    assert choose(run=run).precision == first_choice[0].precision == "float32"


def test_longer_work_is_timed_although_shorter_work_was_not(choose):
    assert choose(passes=100).precision == "float32"
    longer = choose(passes=100_000)
    # There is no note, since the machine is the same.
    assert (longer.precision, longer.note) == ("bfloat16", None)


def test_a_choice_that_cannot_be_written_is_used_in_this_process(monkeypatch, choose, tmp_path):
    def fail(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_json", fail)
    choices = Choices(tmp_path)
    assert choose(choices=choices).precision == "bfloat16"
    count = len(choose.clock.passes)
    assert choose(choices=choices).precision == "bfloat16"
    assert len(choose.clock.passes) == count


def test_without_bfloat16_instructions_nothing_is_timed(monkeypatch, choose):
    monkeypatch.setattr(Hardware, "has_bfloat16", False)
    assert (choose(passes=1e9).precision, choose.clock.passes) == ("float32", [])
