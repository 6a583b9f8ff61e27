"""Generators of the stand-in, and the errors of devices that are mixed."""

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
#: Files whose lines cause no waits of their own: torch, and this package.
_PASSED_OVER = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
#: Functions of torch, and methods of tensors, that take a generator.
_DRAWS = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson")
_DRAWS_IN_PLACE = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "log_normal_", "geometric_")


class MixtureError(RuntimeError):
    """Tensors of the stand-in and of the CPU met."""


class NumpyError(TypeError):
    """A tensor of the stand-in was asked for as an array of numpy."""


def place() -> str:
    """Return file and line of the innermost code outside torch and this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame = frame.f_back
    if frame is None:
        return "a thread of torch"
    path = Path(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-3:])}:{frame.f_lineno}"


class _Generators(type(torch._C.Generator)):  # type: ignore[misc]
    """Generators of all devices are instances of the class that replaces torch's."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, torch._C.Generator)


class Generator(torch._C.Generator, metaclass=_Generators):
    """A generator of any device; those of the stand-in draw the numbers of the CPU."""

    #: Those of the stand-in, by the address of what torch hands to operations.
    _ours: ClassVar[weakref.WeakValueDictionary[int, Generator]] = weakref.WeakValueDictionary()

    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        """Return a generator of a device."""
        if torch.device(device).type != NAME:
            return torch._C.Generator(device)
        made = super().__new__(cls, "cpu")  # type: ignore[call-arg]
        cls._ours[made._cdata] = made  # type: ignore[attr-defined]
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Accept the device, which ``__new__`` has used."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The stand-in."""
        return torch.device(NAME, 0)

    @classmethod
    def is_ours(cls, generator: torch._C.Generator) -> bool:
        """Whether a generator is the stand-in's."""
        return generator._cdata in cls._ours  # type: ignore[attr-defined]


def check_generator(generator: torch._C.Generator | None, name: str) -> None:
    """Raise an error if an operation on the stand-in is given a generator of another device."""
    if generator is not None and not Generator.is_ours(generator):
        raise MixtureError(f"{name} at {place()}: expected a generator of {NAME}, but found one of the cpu")


def _with_generator_check(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of torch that refuses a generator of the stand-in where it draws on the CPU."""

    @functools.wraps(draw)
    def run(*args: Any, **kwargs: Any) -> Any:
        drawn = draw(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and Generator.is_ours(generator) and drawn.device.type == "cpu":
            raise MixtureError(
                f"{draw.__name__} at {place()}: expected a generator of the cpu, but found one of {NAME}"
            )
        return drawn

    return run


def install() -> None:
    """Replace torch.Generator, and wrap the functions that draw, in this process and for good."""
    torch.Generator = Generator  # type: ignore[misc, assignment]
    for owner, names in ((torch, _DRAWS), (Tensor, _DRAWS_IN_PLACE)):
        for name in names:
            setattr(owner, name, _with_generator_check(getattr(owner, name)))
