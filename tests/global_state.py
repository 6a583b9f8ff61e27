"""Global state of a process that affects later computations in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch


def global_state() -> dict[str, Any]:
    """Return comparable values of the state by name; replaced functions are not included."""
    module, backends = torch.nn.modules.module, torch.backends
    return {
        "working directory": Path.cwd(),
        "environment variables": dict(os.environ),
        "recursion limit": sys.getrecursionlimit(),
        "numpy errors": np.geterr(),
        "denormal numbers": sys.float_info.min / 2 > 0,
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic algorithms": (torch.are_deterministic_algorithms_enabled(), backends.cudnn.deterministic),
        "matrix products": (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32, backends.mkldnn.enabled),
        "choice of kernels": backends.cudnn.benchmark,
        "overrides of torch functions": torch._C._len_torch_function_stack() + torch._C._len_torch_dispatch_stack(),
        "hooks of all modules": len(module._global_forward_hooks) + len(module._global_forward_pre_hooks),
    }


def changed_names(before: dict[str, Any]) -> list[str]:
    """Return the names of the values that have changed."""
    return [name for name, value in global_state().items() if value != before[name]]
