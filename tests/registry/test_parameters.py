import math
import re
from typing import Annotated, Literal

import pytest
from pydantic import Field

from gahbench import Basis
from gahbench._util.errors import ParameterError, PluginError
from gahbench.registry.marks import Names
from gahbench.registry.parameters import Parameter, constructor_parameters, resolve
from gahbench.registry.plugin import KINDS


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


@pytest.mark.parametrize("given", [{"levels": 2**63}, {"sizes": [1, -(2**63) - 1]}, {"levels": 10**400}])
def test_integers_have_64_bits(given):
    (name,) = given
    with pytest.raises(
        ParameterError, match=rf"{name}=.*: not accepted; integers of 64 bits are, -{2**63} to {2**63 - 1}"
    ):
        resolve(PARAMETERS, given, "x")
    assert resolve(PARAMETERS, {"levels": 2**63 - 1, "sizes": [-(2**63)]}, "x")["levels"] == 2**63 - 1


def test_defaults_fill_in():
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


def test_an_integer_is_a_float_and_a_list_a_tuple():
    resolved = resolve(PARAMETERS, {"rate": 1, "sizes": [7]}, "x")
    assert resolved["rate"] == 1.0
    assert isinstance(resolved["rate"], float)
    assert resolved["sizes"] == (7,)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"widht": 3}, "unknown parameter 'widht'; did you mean 'width'"),
        ({"width": "16"}, "width='16'"),
        ({"width": 0}, "accepted: int ≥ 1, ≤ 512"),
        ({"width": 2.5}, "width=2.5"),
        ({"width": True}, "width=True"),
        ({"rate": "fast"}, "rate='fast'"),
        ({"mode": "c"}, "accepted: 'a' or 'b'"),
        ({"sizes": 3}, "accepted: list of int"),
        ({"levels": "two"}, "accepted: int or null"),
        ({"basis": 3}, "accepted: a basis or null"),
        ({"bases": "dct"}, "accepted: list of plugins of kind basis or null"),
        ({"bases": ["dct", "haar", "db2", "db4"]}, "at most 3 items"),
        ({"other": ["dct"]}, "accepted: a basis or null"),
        ({"rate": math.inf}, "rate=inf: not a finite number (accepted: float)"),
        ({"rate": -math.nan}, "rate=nan: not a finite number"),
        ({"rate": 10**400}, "rate=1000"),
        ({"sizes": [3, math.inf]}, "sizes=[3, inf]"),
        ({"channels": 3}, "come from the dataset"),
    ],
)
def test_values_that_are_not_accepted_are_named(given, says):
    with pytest.raises(ParameterError) as error:
        resolve(PARAMETERS, given, "architecture 'x'")
    assert says in str(error.value)
    assert str(error.value).startswith("architecture 'x': ")


def test_a_parameter_that_names_a_plugin_is_recognised():
    named = [parameter for parameter in PARAMETERS if parameter.names]
    assert [(parameter.name, parameter.names) for parameter in named] == [
        ("basis", "basis"),
        ("bases", "basis"),
        ("other", "basis"),
    ]
    assert [parameter.default for parameter in named] == ["dct", ("dct", "haar"), None]
    assert not any(parameter.required for parameter in named)
    assert resolve(PARAMETERS, {"basis": None, "bases": ["pixel"], "other": "dct"}, "x").items() >= {
        ("basis", None),
        ("bases", ("pixel",)),
        ("other", "dct"),
    }


def test_a_parameter_that_names_a_plugin_may_be_required():
    def factory(basis: Annotated[Basis, Names("basis")]): ...

    (parameter,) = constructor_parameters(factory, "x")
    assert parameter.required
    with pytest.raises(ParameterError, match="'basis' \\(a basis\\) is required"):
        resolve((parameter,), {}, "x")


def test_marks_of_plugins_that_mislead_are_refused():
    def text(basis: Annotated[str, Names("basis")]): ...

    def default(basis: Annotated[Basis, Names("basis")] = "dct"): ...

    def network(network: Annotated[str | None, Names("architecture")] = None): ...

    with pytest.raises(PluginError, match=r"x: parameter 'basis' .* Annotated\[gahbench.Basis, "):
        constructor_parameters(text, "x")
    with pytest.raises(PluginError, match=r"Names\('basis', default="):
        constructor_parameters(default, "x")
    with pytest.raises(PluginError, match=r"Annotated\[gahbench.ArchitectureFactory, "):
        constructor_parameters(network, "x")


def test_sequences_are_distinguished_from_grids():
    assert [parameter.name for parameter in PARAMETERS if parameter.is_sequence] == ["sizes", "bases"]


def test_a_required_parameter_is_asked_for():
    def factory(width: int): ...

    with pytest.raises(ParameterError, match="'width' \\(int\\) is required"):
        resolve(constructor_parameters(factory, "x"), {}, "x")


def test_types_must_be_there():
    def untyped(width=3): ...

    def hidden(**options: int): ...

    with pytest.raises(PluginError, match="'width' needs a type annotation"):
        constructor_parameters(untyped, "x")
    for bound in (math.inf, math.nan, (1.0, -math.inf)):

        def endless(width: int = 3, bound: object = bound): ...

        with pytest.raises(PluginError, match=re.escape(f"x: the default bound={bound} is not finite")):
            constructor_parameters(endless, "x")
    with pytest.raises(PluginError, match="hides its parameters"):
        constructor_parameters(hidden, "x")


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_plugins_are_accepted(builtin, kind):
    parameter = Parameter("other", Annotated[str, Names(kind)])
    (plain, full), mapping = re.findall(r'"(.+?)"', parameter.accepted), re.search(r"{(.*): {...}}", parameter.accepted)
    for text in (plain, full):
        assert builtin.configure(kind, text).label
    assert mapping is not None
    assert builtin.find(kind, mapping[1]) is not None


def test_a_plugin_is_named_by_a_mapping(builtin):
    given = {"threshold": {"basis": {"wavelet": {"name": "db4", "levels": 2}}}}
    configured = builtin.configure("reference", "cycle-spin", reference=given, shifts=2)
    assert configured.label == "cycle-spin[threshold[wavelet[db4,levels=2]],shifts=2]"
    several = ["haar", {"wavelet": {"levels": 2}}]
    assert "wavelet[sym4,levels=2]" in builtin.configure("reference", "oracle-best-basis", bases=several).label


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"wavelet": {"level": 2}}, "reference 'threshold': basis: basis 'wavelet': unknown parameter 'level'"),
        ({"wavlet": None}, "reference 'threshold': basis: unknown basis 'wavlet'"),
        ({"haar": None, "dct": None}, "basis: expected one basis in a mapping, not 2: haar, dct"),
        ({"haar": [1]}, r"basis: haar: expected parameters with values, not \[1\]"),
    ],
)
def test_a_mapping_that_names_no_plugin_is_refused(builtin, given, says):
    with pytest.raises((ParameterError, PluginError), match=says):
        builtin.configure("reference", "threshold", basis=given)


def test_numbers_may_be_fractions_and_texts_stay_texts():
    number, text = Parameter("sigma", Annotated[float, Field(gt=0)] | None), Parameter("name", str)
    numbers = Parameter("sigmas", tuple[float, ...])
    assert number.check("25/255") == 25 / 255
    assert numbers.check(["15/255", 0.5]) == (15 / 255, 0.5)
    assert text.check("25/255") == "25/255"
    for wrong in ("25/0", "a/b", "0.1"):
        with pytest.raises(ParameterError, match="accepted: float"):
            number.check(wrong)
