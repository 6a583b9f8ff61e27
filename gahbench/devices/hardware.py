"""Kinds of devices behind a common interface; no other file names CUDA.

Importing this module does not import torch, which takes seconds and which commands such as ``gahbench list`` avoid.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gahbench._util.errors import error_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Hardware:
    """A device and the capabilities of its kind; kinds that are not in :data:`KINDS` have the defaults below."""

    #: Whether the device computes asynchronously to the CPU; each worker process then gets one device.
    is_accelerator: ClassVar[bool] = False
    #: Whether the device is faster with large batches.
    has_large_batches: ClassVar[bool] = False
    #: Whether a thread draws the next batches of a stream during computation; on a CPU, the two would share the cores.
    prefetches: ClassVar[bool] = False
    #: Whether compiled networks are launched as CUDA graphs.
    has_graphs: ClassVar[bool] = False
    #: Minimum seconds of a fit without the compiler for which compiling, which takes 15 to 60 seconds, is worthwhile.
    compile_from_seconds: ClassVar[float] = 600.0
    #: Multiply-adds per second of an eager training step, for ``gahbench plan``; ``None`` if it must be measured.
    nominal_rate: ClassVar[float | None] = None
    #: The environment variable that limits a process to some devices of this kind.
    visible_variable: ClassVar[str | None] = None

    def __init__(self, device: str) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """The device."""
        import torch

        return torch.device(self._device)

    @property
    def _cuda(self) -> Any:
        """The module ``torch.cuda`` if the device is a GPU; otherwise ``None``."""
        import torch

        return torch.cuda if self.device.type == "cuda" else None

    def __str__(self) -> str:
        return self._device

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the devices of this kind that this process may use."""
        return []

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that limit another process to this device."""
        if self.visible_variable is None:
            return {}
        visible, index = os.environ.get(self.visible_variable), int(self._device.partition(":")[2] or 0)
        # The variable may list UUIDs instead of numbers.
        return {self.visible_variable: visible.split(",")[index] if visible else str(index)}

    @property
    def name(self) -> str:
        """Name of the device in records: the model of a GPU, otherwise its type."""
        return str(self._cuda.get_device_name(self.device)) if self._cuda else self.device.type

    @property
    def memory(self) -> int | None:
        """Memory of the device in bytes; ``None`` if the device uses the memory of the machine."""
        return int(self._cuda.get_device_properties(self.device).total_memory) if self._cuda else None

    @property
    def has_bfloat16(self) -> bool:
        """Whether the device has instructions for bfloat16; otherwise bfloat16 is emulated."""
        import torch

        if self._cuda:
            with self._cuda.device(self.device):
                return bool(self._cuda.is_bf16_supported(including_emulation=False))
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return self.device.type == "cpu" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)

    @property
    def compiler_missing(self) -> str | None:
        """Reason why ``torch.compile`` cannot be used for the device; ``None`` if it can be used."""
        if self._cuda:
            return None if importlib.util.find_spec("triton") else "triton is not installed"
        if self.device.type != "cpu":
            return "torch.compile is not supported on this kind of device"
        path = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
        return None if path else "no C++ compiler was found"

    def synchronise(self) -> None:
        """Wait for all queued work; raise the error if the device is lost."""
        if self._cuda:
            self._cuda.synchronize(self.device)

    def check(self) -> None:
        """Compute a sum on the device and wait for it; raise the error if the device is lost or its memory is full."""
        import torch

        torch.ones(2, device=self.device).sum()
        self.synchronise()

    @property
    def is_lost(self) -> bool:
        """Whether this process can no longer compute on the device; a device whose memory is full is not lost."""
        if not self.is_accelerator:
            return False
        try:
            self.check()
        except Exception as error:
            return not is_out_of_memory(error)
        return False

    def restore_generators(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that restores the default random generators of the CPU and of the device."""
        import torch

        return torch.random.fork_rng(devices=[self.device] if self._cuda else [])

    def reseed(self, seed: int) -> None:
        """Seed the default random generators of the CPU and of the device, without waiting for the device."""
        import torch

        torch.default_generator.manual_seed(seed)
        if self._cuda:
            with self._cuda.device(self.device):
                self._cuda.manual_seed(seed)

    def use_float32(self) -> None:
        """Make convolutions compute in float32 on GPUs, which round to ten bits (TF32) by default."""
        import torch

        if self._cuda:
            torch.backends.cudnn.allow_tf32 = False

    def pin(self, tensor: Tensor) -> Tensor:
        """Return a CPU tensor in pinned memory, from which a GPU can copy without waiting."""
        return tensor.pin_memory() if self._cuda and tensor.device.type == "cpu" else tensor

    def upload(self, tensor: Tensor) -> Tensor:
        """Copy a CPU tensor to the device, without waiting for the device."""
        return self.pin(tensor).to(self.device, non_blocking=True)

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which work on the device does not wait for work outside the context."""
        import torch

        return torch.cuda.stream(_side_stream(self._device)) if self._cuda else contextlib.nullcontext()


@functools.cache
def _side_stream(device: str) -> Any:
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Cpu(Hardware):
    """The CPU."""

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the CPU, which all processes share."""
        return [cls("cpu")]


class Cuda(Hardware):
    """An NVIDIA GPU, or an AMD GPU, which torch also calls ``cuda``."""

    is_accelerator = has_large_batches = prefetches = has_graphs = True
    # Compiling saves about half of the time of a step on a GPU, compared with about 15 % on a CPU.
    compile_from_seconds = 180.0
    nominal_rate = 2e13
    visible_variable = "CUDA_VISIBLE_DEVICES"

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the GPUs that this process may use."""
        # Check for device files first, because importing torch takes seconds.
        files = (*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd"), *Path("/dev").glob("dxg"))
        if sys.platform == "linux" and not files:
            return []
        import torch

        return [cls(f"cuda:{index}") for index in range(torch.cuda.device_count())]


#: Kinds of devices that ``--device`` accepts, by their names in torch; ``auto`` selects the first available kind.
KINDS: dict[str, type[Hardware]] = {"cuda": Cuda, "cpu": Cpu}


def hardware(device: torch.device | str = "auto") -> Hardware:
    """Return a device with the capabilities of its kind.

    Parameters
    ----------
    device
        A torch device, or its name: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if available.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.hardware("cpu").has_large_batches
    False
    """
    name = str(device)
    if name == "auto":
        name = next(name for name, kind in KINDS.items() if kind.devices())
    return KINDS.get(name.partition(":")[0], Hardware)(name)


def release_memory() -> None:
    """Return freed memory to the GPUs of this process, which other processes may share."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of a device or of the machine ran out."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = error_text(error)
    return any(part in text for part in ("OutOfMemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED"))
