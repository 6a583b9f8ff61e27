"""Random generators of the stand-in GPU, and errors about mixed devices."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import torch
from torch import Tensor

NAME = "standin"
#: Folders to skip when a call is located: torch and this package.
_SKIPPED_FOLDERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
#: Functions of torch and methods of tensors that accept a generator.
_DRAWS = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson")
_DRAWS_IN_PLACE = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "log_normal_", "geometric_")


class DeviceMixError(RuntimeError):
    """Tensors or generators of the stand-in GPU and of the CPU were mixed."""


class NumpyError(TypeError):
    """A tensor on the stand-in GPU was converted to a numpy array."""


def caller() -> str:
    """Return the file and line of the innermost code outside torch and this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED_FOLDERS):
        frame = frame.f_back
    if frame is None:
        return "a thread of torch"
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-3:])}:{frame.f_lineno}"


class _Generators(type(torch._C.Generator)):  # type: ignore[misc]
    """A metaclass that makes generators of all devices instances of the class that replaces torch's."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, torch._C.Generator)


class Generator(torch._C.Generator, metaclass=_Generators):
    """A random generator of any device; generators of the stand-in GPU draw the same numbers as on the CPU."""

    #: Generators of the stand-in GPU, by the address that torch passes to operations.
    _fake: ClassVar[weakref.WeakValueDictionary[int, Generator]] = weakref.WeakValueDictionary()

    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        """Return a generator of a device."""
        if torch.device(device).type != NAME:
            return torch._C.Generator(device)
        generator = super().__new__(cls, "cpu")  # type: ignore[call-arg]
        cls._fake[generator._cdata] = generator  # type: ignore[attr-defined]
        return generator

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Accept the device, which ``__new__`` has already used."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The stand-in GPU."""
        return torch.device(NAME, 0)

    @classmethod
    def is_fake(cls, generator: torch._C.Generator) -> bool:
        """Return whether a generator belongs to the stand-in GPU."""
        return generator._cdata in cls._fake  # type: ignore[attr-defined]


def check_generator(generator: torch._C.Generator | None, name: str) -> None:
    """Raise an error if an operation on the stand-in GPU gets a generator of another device."""
    if generator is not None and not Generator.is_fake(generator):
        raise DeviceMixError(f"{name} at {caller()}: expected a generator of {NAME}, but found a generator of the cpu")


def _with_generator_check(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of torch that raises an error if it draws on the CPU from a generator of the stand-in GPU."""

    @functools.wraps(draw)
    def run(*args: Any, **kwargs: Any) -> Any:
        drawn = draw(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and Generator.is_fake(generator) and drawn.device.type == "cpu":
            raise DeviceMixError(
                f"{draw.__name__} at {caller()}: expected a generator of the cpu, but found a generator of {NAME}"
            )
        return drawn

    return run


def install() -> None:
    """Replace torch.Generator and wrap the functions that draw, permanently in this process."""
    torch.Generator = Generator  # type: ignore[misc, assignment]
    for owner, names in ((torch, _DRAWS), (Tensor, _DRAWS_IN_PLACE)):
        for name in names:
            setattr(owner, name, _with_generator_check(getattr(owner, name)))
