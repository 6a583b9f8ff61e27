"""A plugin with parameters of many types, for tests of values that are accepted and refused."""

from typing import Annotated, Literal

from pydantic import Field

from gahbench import Basis, Names


class Plugin:
    """A class whose constructor has parameters of all types that suites write."""

    def __init__(
        self,
        width: Annotated[int, Field(ge=1, le=512)] = 16,
        rate: float = 0.5,
        mode: Literal["a", "b"] = "a",
        sizes: tuple[int, ...] = (3, 5),
        levels: int | None = None,
        basis: Annotated[Basis | None, Names("basis", default="dct")] = None,
        bases: Annotated[tuple[Basis, ...] | None, Names("basis", default=("dct", "haar")), Field(max_length=3)] = None,
        other: Annotated[Basis, Names("basis")] | None = None,
    ): ...
