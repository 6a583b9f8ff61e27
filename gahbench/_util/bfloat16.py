"""Whether hardware computes in bfloat16."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than emulate it."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
