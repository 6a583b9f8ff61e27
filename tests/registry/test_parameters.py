"""Parameters of plugins, read from constructors."""

import math
import re
from typing import Annotated, Literal

import pytest
from pydantic import Field

from gahbench import Basis
from gahbench._util.errors import ParameterError, PluginError
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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": 3}, "unknown parameter 'widht'; did you mean 'width'"),
        ({"width": "16"}, "width='16'"),
        ({"width": 0}, "accepted: int ≥ 1, ≤ 512"),
        ({"width": 2.5}, "width=2.5"),
        ({"width": object()}, "not a plain, finite value"),
        ({"mode": "c"}, "accepted: 'a' or 'b'"),
        ({"sizes": 3}, "accepted: list of int"),
        ({"basis": 3}, "accepted: basis name or null"),
        ({"bases": "dct"}, "accepted: list of basis name or null"),
        ({"rate": math.inf}, "rate=inf: not a plain, finite value (accepted: float)"),
        ({"channels": 3}, "come from the dataset"),
    ],
)
def test_invalid_values_are_named_in_the_error(given, message):
    with pytest.raises(ParameterError) as error:
        resolve(PARAMETERS, given, "architecture 'x'")
    assert message in str(error.value)
    assert str(error.value).startswith("architecture 'x': ")


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


def test_a_missing_required_parameter_raises_an_error():
    def factory(width: int, basis: Annotated[Basis, Names("basis")]): ...

    parameters = constructor_parameters(factory, "x")
    assert all(parameter.required for parameter in parameters)
    with pytest.raises(ParameterError, match=r"'width' \(int\) is required"):
        resolve(parameters, {"basis": "dct"}, "x")
    with pytest.raises(ParameterError, match=r"'basis' \(basis name\) is required"):
        resolve(parameters, {"width": 3}, "x")


def untyped(width=3): ...


def hidden(**options: int): ...


def infinite(bound: object = (1.0, -math.inf)): ...


def with_default(basis: Annotated[Basis, Names("basis")] = "dct"): ...


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (untyped, "x: parameter 'width' needs a type annotation"),
        (hidden, "hides parameters"),
        (infinite, "x: the default bound=(1.0, -inf) is not finite"),
        (with_default, "write its default as Names('basis', default=...)"),
    ],
)
def test_invalid_constructors_are_refused(factory, message):
    with pytest.raises(PluginError, match=re.escape(message)):
        constructor_parameters(factory, "x")


def test_fractions_become_numbers_but_strings_stay_strings():
    number, text = Parameter("sigma", Annotated[float, Field(gt=0)] | None), Parameter("name", str)
    numbers = Parameter("sigmas", tuple[float, ...])
    assert number.check("25/255") == 25 / 255
    assert numbers.check(["15/255", 0.5]) == (15 / 255, 0.5)
    assert text.check("25/255") == "25/255"
    for wrong in ("25/0", "a/b", "0.1"):
        with pytest.raises(ParameterError, match="accepted: float"):
            number.check(wrong)
