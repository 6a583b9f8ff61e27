"""Parameters of plugins, read from constructors."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from gahbench import Basis
from gahbench._util.errors import ParameterError
from gahbench.registry.parameters import Names, Parameter, constructor_parameters, resolve


class Plugin:
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


PARAMETERS = constructor_parameters(Plugin, "architecture 'x'")


def test_defaults_are_filled_in():
    assert resolve(PARAMETERS, {}, "x") == {
        "width": 16,
        "rate": 0.5,
        "mode": "a",
        "sizes": (3, 5),
        "levels": None,
        "basis": "dct",
        "bases": ("dct", "haar"),
        "other": None,
    }


def test_integers_become_floats_and_lists_become_tuples():
    resolved = resolve(PARAMETERS, {"rate": 1, "sizes": [-(2**63)], "levels": 2**63 - 1}, "x")
    assert isinstance(resolved["rate"], float)
    assert (resolved["rate"], resolved["sizes"], resolved["levels"]) == (1.0, (-(2**63),), 2**63 - 1)


def test_parameters_that_name_plugins_are_recognised():
    named = [parameter for parameter in PARAMETERS if parameter.names]
    assert [(parameter.name, parameter.names) for parameter in named] == [
        ("basis", "basis"),
        ("bases", "basis"),
        ("other", "basis"),
    ]
    assert [parameter.default for parameter in named] == ["dct", ("dct", "haar"), None]
    assert [parameter.name for parameter in PARAMETERS if parameter.is_sequence] == ["sizes", "bases"]
    assert not any(parameter.required for parameter in named)
    assert resolve(PARAMETERS, {"basis": None, "bases": ["pixel"], "other": "dct"}, "x").items() >= {
        ("basis", None),
        ("bases", ("pixel",)),
        ("other", "dct"),
    }


def test_fractions_become_numbers_but_strings_stay_strings():
    number, text = Parameter("sigma", Annotated[float, Field(gt=0)] | None), Parameter("name", str)
    numbers = Parameter("sigmas", tuple[float, ...])
    assert number.check("25/255") == 25 / 255
    assert numbers.check(["15/255", 0.5]) == (15 / 255, 0.5)
    assert text.check("25/255") == "25/255"
    for wrong in ("25/0", "a/b", "0.1"):
        with pytest.raises(ParameterError, match="accepted: float"):
            number.check(wrong)
