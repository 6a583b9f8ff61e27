"""The state of this process that changes numbers, or the way they are computed, for whatever runs in it next."""

from __future__ import annotations

import gc
import locale
import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch


def process_state() -> dict[str, Any]:
    """Return the state by name, as values that can be compared; it takes a fraction of a millisecond.

    Patched functions are not seen, nor are threads: plugins that may do such things share no process with others.
    """
    return {
        "working directory": _working_directory(),
        "environment variables": dict(os.environ),
        "sys.path": list(sys.path),
        "recursion limit": sys.getrecursionlimit(),
        "limit of digits of integers": sys.get_int_max_str_digits(),
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "trace function": (sys.gettrace(), threading.gettrace()),
        "profile function": (sys.getprofile(), threading.getprofile()),
        "signal handlers": [signal.getsignal(number) for number in _SIGNALS],
        "locale": locale.setlocale(locale.LC_ALL),
        "numpy errors": (np.geterr(), np.getbufsize()),
        "denormal numbers": _keeps_denormals(sys.float_info.min),
        **_torch_state(),
    }


def moved(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the names of what differs between two states."""
    return [name for name, value in before.items() if not _equal(value, after.get(name))]


def seed_generators() -> None:
    """Seed the default generators of torch, numpy and Python, so that no unit draws on what another has left.

    All that gahbench draws has generators of its own, or seeds these before.
    """
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, the generator that plugins may use is meant
    random.seed(0)


_SIGNALS = sorted(signal.valid_signals() - {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")})


def _torch_state() -> dict[str, Any]:
    backends = torch.backends
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly detection": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "autocast": tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        ),
        "precision of matrix products": (
            torch.get_float32_matmul_precision(),
            backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
            backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        ),
        "mkldnn": (backends.mkldnn.enabled, backends.mkldnn.deterministic),
        "cudnn": (
            backends.cudnn.enabled,
            backends.cudnn.benchmark,
            backends.cudnn.deterministic,
            backends.cudnn.allow_tf32,
        ),
        "attention kernels": (
            backends.cuda.flash_sdp_enabled(),  # type: ignore[no-untyped-call]
            backends.cuda.mem_efficient_sdp_enabled(),  # type: ignore[no-untyped-call]
            backends.cuda.math_sdp_enabled(),  # type: ignore[no-untyped-call]
        ),
        "overrides of torch functions": (
            torch._C._len_torch_function_stack(),
            torch._C._len_torch_dispatch_stack(),
        ),
        "hooks of all modules": _module_hooks(),
    }


def _module_hooks() -> int:
    """Return how many hooks there are that every network calls."""
    module = torch.nn.modules.module
    names = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")
    return sum(len(getattr(module, name, ())) for name in names)


def _keeps_denormals(smallest: float) -> bool:
    """Whether this thread computes with numbers below the smallest normal one, rather than with 0."""
    return smallest / 2 > 0


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "none: it was removed"


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        return False  # A plugin's object, whose comparison fails.
