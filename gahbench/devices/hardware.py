"""Kinds of devices, and batches that are halved when memory runs out; no other file names CUDA."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from gahbench._util.errors import error_text
from gahbench._util.readable import pluralize
from gahbench._util.shapes import Shape

Result = TypeVar("Result")
#: Advice for reducing memory, in error messages.
FEWER_WORKERS = 'fewer workers (--workers, --engine "local[workers_per_gpu=1]")'
#: Approximate number of values in a batch of images, small enough for the memory of any network.
BATCH_PIXELS = 1 << 17


class Hardware:
    """A device and the capabilities of its kind; this class is for the CPU, and kinds not in :data:`KINDS`."""

    #: Whether the device computes asynchronously to the CPU. Then each worker process gets one device, batches are
    #: large, the next ones are drawn during computation, and compiled networks are launched as CUDA graphs.
    is_accelerator: ClassVar[bool] = False
    #: Minimum seconds of a fit without the compiler for which compiling, which takes 15 to 60 seconds, is worthwhile.
    compile_from_seconds: ClassVar[float] = 600.0
    #: Multiply-adds per second of an eager training step, for ``gahbench plan``; ``None`` if it must be measured.
    nominal_rate: ClassVar[float | None] = None

    def __init__(self, device: str) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """The device."""
        return torch.device(self._device)

    @property
    def _cuda(self) -> Any:
        """The module ``torch.cuda`` if the device is a GPU; otherwise ``None``."""
        return torch.cuda if self.device.type == "cuda" else None

    def __str__(self) -> str:
        return self._device

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the devices of this kind that this process may use; all processes share the CPU."""
        return [cls("cpu")]

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that limit another process to this device."""
        if not self.is_accelerator:
            return {}
        visible, index = os.environ.get("CUDA_VISIBLE_DEVICES"), int(self._device.partition(":")[2] or 0)
        # The variable may list UUIDs instead of numbers.
        return {"CUDA_VISIBLE_DEVICES": visible.split(",")[index] if visible else str(index)}

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
        torch.ones(2, device=self.device).sum()
        self.synchronise()

    @property
    def is_lost(self) -> bool:
        """Whether this process can no longer compute on the device; a device whose memory is full is not lost."""
        if self.is_accelerator:
            try:
                self.check()
            except Exception as error:
                return not is_out_of_memory(error)
        return False

    def restore_generators(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that restores the default random generators of the CPU and of the device."""
        return torch.random.fork_rng(devices=[self.device] if self._cuda else [])

    def reseed(self, seed: int) -> None:
        """Seed the default random generators of the CPU and of the device, without waiting for the device."""
        torch.default_generator.manual_seed(seed)
        if self._cuda:
            with self._cuda.device(self.device):
                self._cuda.manual_seed(seed)

    def use_float32(self) -> None:
        """Make convolutions compute in float32 on GPUs, which round to ten bits (TF32) by default."""
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
        return torch.cuda.stream(_side_stream(self._device)) if self._cuda else contextlib.nullcontext()


@functools.cache
def _side_stream(device: str) -> Any:
    return torch.cuda.Stream(device)


class Cuda(Hardware):
    """An NVIDIA GPU, or an AMD GPU, which torch also calls ``cuda``."""

    is_accelerator = True
    # Compiling saves about half of the time of a step on a GPU, compared with about 15 % on a CPU.
    compile_from_seconds = 180.0
    nominal_rate = 2e13

    @classmethod
    def devices(cls) -> list[Hardware]:
        """Return the GPUs that this process may use."""
        return [cls(f"cuda:{index}") for index in range(torch.cuda.device_count())]


#: Kinds of devices that ``--device`` accepts, by their names in torch; ``auto`` selects the first available kind.
KINDS: dict[str, type[Hardware]] = {"cuda": Cuda, "cpu": Hardware}


def hardware(device: torch.device | str = "auto") -> Hardware:
    """Return a device with the capabilities of its kind.

    Parameters
    ----------
    device
        A torch device, or its name: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if available.

    Examples
    --------
    >>> import gahbench
    >>> gahbench.hardware("cpu").is_accelerator
    False
    """
    name = str(device)
    if name == "auto":
        name = next(name for name, kind in KINDS.items() if kind.devices())
    return KINDS.get(name.partition(":")[0], Hardware)(name)


def release_memory() -> None:
    """Return freed memory to the GPUs of this process, which other processes may share."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of a device or of the machine ran out."""
    parts = ("OutOfMemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED")
    is_reported = isinstance(error, RuntimeError) and any(part in error_text(error) for part in parts)
    return is_reported or isinstance(error, MemoryError)


class Batches:
    """A batch size that is halved permanently whenever memory runs out.

    Parameters
    ----------
    size
        Initial number of images in a batch.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> images = torch.rand(5, 1, 8, 8)
    >>> def blur(size):
    ...     return torch.cat([torch.nn.functional.avg_pool2d(batch, 2) for batch in torch.split(images, size)])
    >>> gahbench.Batches(4).run(blur).shape
    torch.Size([5, 1, 4, 4])
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @classmethod
    def for_images(cls, shape: Shape) -> Batches:
        """Return batches of images of shape (C, H, W) that fit into memory for any network.

        Examples
        --------
        >>> import gahbench
        >>> gahbench.Batches.for_images((1, 64, 64)).size
        32
        """
        return cls(max(1, BATCH_PIXELS // math.prod(shape)))

    def run(self, compute: Callable[[int], Result]) -> Result:
        """Return ``compute(size)``; whenever memory runs out, halve the size and compute again from the start.

        Parameters
        ----------
        compute
            Function that computes all images in batches of a given size. If it draws random numbers, it must seed them,
            so that calls agree.

        Raises
        ------
        MemoryError
            If memory runs out for a single image.
        """
        while self.size > 1:
            try:
                return compute(self.size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Halve outside the handler, where the error no longer keeps the tensors of the failed batch alive.
            self.size //= 2
            _halved.append(self.size)
            release_memory()
        with memory_for("a single image", f"{FEWER_WORKERS}, smaller images or --device cpu"):
            return compute(self.size)


#: Sizes to which batches were halved in this process since the last call of :func:`take_memory_notes`.
_halved: list[int] = []


def take_memory_notes() -> list[str]:
    """Return a note for records if batches were halved since the last call, as a list of at most one note."""
    sizes = [*_halved]
    _halved.clear()
    return [f"out of memory: computed in batches of {pluralize(min(sizes), 'image')}"] if sizes else []


@contextlib.contextmanager
def memory_for(what: str, advice: str) -> Iterator[None]:
    """Return a context in which out-of-memory errors name the object that does not fit, and how to use less memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{what} does not fit; {advice} need less memory ({error_text(error)})") from error
