"""The choice of a precision, with a fake clock."""

import pytest
import torch

from gahbench.devices.hardware import Hardware
from gahbench.networks import precision as module
from gahbench.networks.precision import choose

CPU = torch.device("cpu")


class Clock:
    """A fake clock that each pass advances by given seconds."""

    def __init__(self, monkeypatch, float32, bfloat16):
        self.now, self.cost, self.passes = 0.0, {"float32": float32, "bfloat16": bfloat16}, []
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def run(self, precision):
        self.passes.append(precision)
        # One of the passes after the warm-up is slow.
        self.now += 5.0 if self.passes.count(precision) == 3 and precision == "bfloat16" else self.cost[precision]


@pytest.fixture(autouse=True)
def _with_bfloat16(monkeypatch):
    """Pretend that the machine has bfloat16 instructions."""
    monkeypatch.setattr(Hardware, "has_bfloat16", True)


@pytest.mark.parametrize(
    ("gain", "expected"), [(0.7, "float32"), (1.0, "float32"), (1.14, "float32"), (1.16, "bfloat16"), (3.0, "bfloat16")]
)
def test_bfloat16_is_chosen_only_if_it_is_faster_by_a_margin(monkeypatch, gain, expected):
    clock = Clock(monkeypatch, 0.1, 0.1 / gain)
    choice = choose(clock.run, 100_000, CPU)
    assert choice.precision == expected
    assert choice.seconds["float32"] / choice.seconds["bfloat16"] == pytest.approx(gain)
    # Timing takes at most a hundredth of the work.
    assert clock.now < 0.01 * 100_000 * 0.1


@pytest.mark.parametrize(("passes", "seconds", "timed"), [(1_000, 0.059, 2), (50_000, 0.001, 2), (300, 100.0, 0)])
def test_short_work_uses_float32_without_timing_bfloat16(monkeypatch, passes, seconds, timed):
    clock = Clock(monkeypatch, seconds, seconds / 10)
    assert choose(clock.run, passes, CPU).precision == "float32"
    assert clock.passes == ["float32"] * timed


def test_a_network_that_fails_in_bfloat16_uses_float32(monkeypatch):
    clock = Clock(monkeypatch, 0.1, 0.1)

    def run(precision):
        clock.run(precision)
        if precision == "bfloat16":
            raise RuntimeError("expected float, but found BFloat16")

    choice = choose(run, 10_000, CPU)
    assert choice.precision == "float32"
    assert "BFloat16" in choice.reason


def test_without_bfloat16_instructions_nothing_is_timed(monkeypatch):
    monkeypatch.setattr(Hardware, "has_bfloat16", False)
    clock = Clock(monkeypatch, 0.1, 0.01)
    assert (choose(clock.run, 1e9, CPU).precision, clock.passes) == ("float32", [])
