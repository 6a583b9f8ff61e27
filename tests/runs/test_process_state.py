"""What a unit may leave behind that changes the numbers of the next."""

import gc
import os
import random
import signal
import sys

import numpy as np
import pytest
import torch

from gahbench.runs.process_state import moved, process_state, seed_generators


def _module_hook():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, given, out: None)
    return handle.remove


def _trace():
    before = sys.gettrace()
    sys.settrace(lambda *arguments: None)
    return lambda: sys.settrace(before)


def _flush():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot")
    return lambda: torch.set_flush_denormal(False)


def _device():
    torch.set_default_device("meta")
    return lambda: torch.set_default_device(None)


def _signal():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGUSR1, before)


def _setting(set_, value, before):
    def change():
        set_(value)
        return lambda: set_(before)

    return change


CHANGES = {
    "default dtype": _setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": _device,
    "gradients": _setting(torch.set_grad_enabled, False, True),
    "anomaly detection": _setting(torch.autograd.set_detect_anomaly, True, False),
    "threads": _setting(torch.set_num_threads, torch.get_num_threads() + 1, torch.get_num_threads()),
    "deterministic algorithms": _setting(torch.use_deterministic_algorithms, True, False),
    "precision of matrix products": _setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "mkldnn": _setting(lambda on: setattr(torch.backends.mkldnn, "enabled", on), False, True),
    "cudnn": _setting(lambda on: setattr(torch.backends.cudnn, "benchmark", on), True, False),
    "hooks of all modules": _module_hook,
    "denormal numbers": _flush,
    "numpy errors": _setting(lambda how: np.seterr(over=how), "raise", "warn"),
    "recursion limit": _setting(sys.setrecursionlimit, 5000, sys.getrecursionlimit()),
    "garbage collection": _setting(lambda on: gc.enable() if on else gc.disable(), False, True),
    "trace function": _trace,
    "signal handlers": _signal,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named(name):
    before = process_state()
    undo = CHANGES[name]()
    try:
        assert name in moved(before, process_state())
    finally:
        undo()
    # Torch keeps a variable for deterministic algorithms.
    assert set(moved(before, process_state())) <= {"environment variables"}


def test_the_place_in_the_file_system_and_the_environment_belong_to_the_state(tmp_path, monkeypatch):
    before = process_state()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_SCHEDULE", "static")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"working directory", "environment variables", "sys.path"} <= set(moved(before, process_state()))
    tmp_path.rmdir()
    assert "working directory" in moved(before, process_state())
    os.chdir("/")


def test_an_object_that_cannot_be_compared_has_moved():
    class Odd:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    assert moved({"x": 1}, {"x": Odd()}) == ["x"]


def test_units_draw_the_same_whatever_was_drawn_before():
    def drawn():
        seed_generators()
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = drawn()
    assert drawn() == first
