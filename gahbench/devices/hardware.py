"""Kinds of devices behind one interface: only this file names CUDA.

Importing it does not import torch, which takes seconds and which commands such as ``gahbench list`` do without.
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

from gahbench._util.error_text import error_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Hardware:
    """A device, and what its kind can do; a kind that is not in :data:`KINDS` has the defaults below."""

    #: Whether it computes beside the processor, and worker processes are each given one.
    is_accelerator: ClassVar[bool] = False
    #: Whether it is physical; ``auto`` and records ignore others.
    is_real: ClassVar[bool] = True
    #: Whether it computes many images at once faster than few.
    has_large_batches: ClassVar[bool] = False
    #: Whether a thread draws the next batches of a stream while it computes. A processor would draw on the same cores.
    prefetches: ClassVar[bool] = False
    #: Whether it launches a compiled network as CUDA graphs.
    has_graphs: ClassVar[bool] = False
    #: Seconds of a fit without the compiler from which compiling pays. It takes 15 to 60 seconds.
    compile_from_seconds: ClassVar[float] = 600.0
    #: Multiply-adds a second of an eager training step, for the estimates of ``gahbench plan``; ``None`` to measure.
    nominal_rate: ClassVar[float | None] = None
    #: The environment variable that limits a process to some devices of the kind.
    visible_variable: ClassVar[str | None] = None

    def __init__(self, device: str) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """The device."""
        import torch

        return torch.device(self._device)

    def __str__(self) -> str:
        return self._device

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the devices of the kind that this process may use."""
        return []

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that limit another process to this device, which is one of :meth:`devices`."""
        if self.visible_variable is None:
            return {}
        visible, index = os.environ.get(self.visible_variable), int(self._device.partition(":")[2] or 0)
        # Names may be UUIDs.
        return {self.visible_variable: visible.split(",")[index] if visible else str(index)}

    @property
    def name(self) -> str:
        """Name of the device in records."""
        return self.device.type

    @property
    def memory(self) -> int | None:
        """Memory of the device in bytes; ``None`` where it is that of the machine."""
        return None

    @property
    def has_bfloat16(self) -> bool:
        """Whether it computes in bfloat16, rather than emulate it."""
        return False

    @property
    def compiler_missing(self) -> str | None:
        """Why ``torch.compile`` cannot be used for it; ``None`` where it can."""
        return "torch.compile is not tried on this kind of device"

    def synchronise(self) -> None:
        """Wait until it has computed all queued work; raises the error of a device that is lost."""

    def check(self) -> None:
        """Compute a sum on the device and wait for it; raises the error of a device that is lost or full."""
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

    def restored(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that leaves the default generators of the CPU and of the device as it found them."""
        import torch

        return torch.random.fork_rng(devices=[])

    def reseed(self, seed: int) -> None:
        """Seed the default generators of the CPU and of the device, without waiting for the device."""
        import torch

        torch.default_generator.manual_seed(seed)

    def use_float32(self) -> None:
        """Have convolutions compute in float32 where they would round to fewer bits by default."""

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a tensor in memory that the device copies from without waiting, where the tensor is on the CPU."""
        return tensor

    def upload(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the CPU on the device, without waiting for the device."""
        return self.pinned(tensor).to(self.device, non_blocking=True)

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context whose work does not wait for other work on the device."""
        return contextlib.nullcontext()

    @classmethod
    def release_memory(cls) -> None:
        """Return freed memory to the device."""


class Cpu(Hardware):
    """The processor."""

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the processor, which all processes share."""
        return [cls("cpu")]

    @property
    def has_bfloat16(self) -> bool:
        """Whether the processor has instructions for bfloat16."""
        import torch

        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)

    @property
    def compiler_missing(self) -> str | None:
        """Why ``torch.compile`` cannot be used; ``None`` where it can."""
        compiler = os.environ.get("CXX", "g++")
        found = shutil.which(compiler) or shutil.which("clang++")
        return None if found else "no C++ compiler was found"


class Cuda(Hardware):
    """A GPU of NVIDIA, or one of AMD, which torch names alike."""

    is_accelerator = True
    has_large_batches = True
    prefetches = True
    has_graphs = True
    # Compiling saves about half of a step, and some 15 % on a processor.
    compile_from_seconds = 180.0
    nominal_rate = 2e13
    visible_variable = "CUDA_VISIBLE_DEVICES"

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the GPUs that this process may use."""
        # Importing torch takes seconds, and mostly there is none.
        files = (*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd"), *Path("/dev").glob("dxg"))
        if sys.platform == "linux" and not files:
            return []
        import torch

        return [cls(f"cuda:{index}") for index in range(torch.cuda.device_count())]

    @property
    def name(self) -> str:
        """Name of the GPU's model."""
        import torch

        return torch.cuda.get_device_name(self.device)

    @property
    def memory(self) -> int | None:
        """Memory of the GPU in bytes."""
        import torch

        return int(torch.cuda.get_device_properties(self.device).total_memory)

    @property
    def has_bfloat16(self) -> bool:
        """Whether the GPU has units for bfloat16."""
        import torch

        with torch.cuda.device(self.device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))

    @property
    def compiler_missing(self) -> str | None:
        """Why ``torch.compile`` cannot be used; ``None`` where it can."""
        return None if importlib.util.find_spec("triton") else "triton is not installed"

    def synchronise(self) -> None:
        """Wait until it has computed all queued work; raises the error of a GPU that is lost."""
        import torch

        torch.cuda.synchronize(self.device)

    def restored(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that leaves the default generators of the CPU and of the GPU as it found them."""
        import torch

        return torch.random.fork_rng(devices=[self.device])

    def reseed(self, seed: int) -> None:
        """Seed the default generators of the CPU and of the GPU, without waiting for the GPU."""
        import torch

        super().reseed(seed)
        with torch.cuda.device(self.device):
            torch.cuda.manual_seed(seed)

    def use_float32(self) -> None:
        """Have convolutions compute in float32: by default they round to ten bits."""
        import torch

        torch.backends.cudnn.allow_tf32 = False

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the CPU in pinned memory; other tensors are returned unchanged."""
        return tensor.pin_memory() if tensor.device.type == "cpu" else tensor

    def stream(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context whose work goes to a stream of its own."""
        import torch

        return torch.cuda.stream(_side_stream(self._device))

    @classmethod
    def release_memory(cls) -> None:
        """Return freed memory to the GPU, which other processes may share."""
        import torch

        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()


@functools.cache
def _side_stream(device: str) -> Any:
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class StandIn(Hardware):
    """The stand-in for a GPU of :mod:`gahbench.devices.stand_in`, installed in this process on first use."""

    is_accelerator = True
    is_real = False
    has_large_batches = True
    prefetches = True
    visible_variable = "STANDIN_VISIBLE_DEVICES"
    has_bfloat16 = True

    @property
    def device(self) -> torch.device:
        """The device; torch knows it by its name from now on."""
        from gahbench.devices import stand_in

        stand_in.install()
        return super().device

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return as many as the environment variable names; raises GahbenchError if torch is too old."""
        from gahbench.devices import stand_in

        if not stand_in.is_supported():
            # It raises the error, before any worker process starts.
            stand_in.install()
        visible = os.environ.get(cls.visible_variable) or "0"
        return [cls(f"standin:{index}") for index in range(len(visible.split(",")))]

    @property
    def name(self) -> str:
        """Name in records."""
        return f"stand-in {os.environ.get(self.visible_variable) or 0}"


#: The kinds of devices that ``--device`` accepts, by their names in torch; ``auto`` is the first that the machine has.
KINDS: dict[str, type[Hardware]] = {"cuda": Cuda, "cpu": Cpu, "standin": StandIn}


def hardware(device: torch.device | str = "auto") -> Hardware:
    """Return a device with what its kind can do.

    Parameters
    ----------
    device
        A device of torch, or its name: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if there is one.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.hardware("cpu").has_large_batches
    False
    """
    name = str(device)
    if name == "auto":
        name = next(kind for kind, found in KINDS.items() if found.is_real and found.devices())
    return KINDS.get(name.partition(":")[0], Hardware)(name)


def chosen_device(name: str) -> torch.device:
    """Return a device by its name, as :func:`hardware` accepts it."""
    return hardware(name).device


def release_memory() -> None:
    """Return freed memory to the devices of this process."""
    for kind in KINDS.values():
        kind.release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: of a device, or of the machine."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = error_text(error)
    return any(one in text for one in ("OutOfMemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED"))
