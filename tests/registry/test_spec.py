"""Specs and parameters: parsing, formatting, and values read from constructors."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from typed_plugin import Plugin

from gahbench._util.errors import ParameterError
from gahbench.registry.parameters import Parameter, constructor_parameters, resolve
from gahbench.registry.spec import Spec, format_value, parse_spec


def test_specs_are_parsed_into_names_and_parameters():
    assert parse_spec("unet") == Spec("unet")
    assert parse_spec("unet[]") == Spec("unet")
    assert parse_spec(" unet[width=16, bias=true] ") == Spec("unet", (), {"width": 16, "bias": True})
    assert parse_spec("wavelet[sym4,levels=3]") == Spec("wavelet", ("sym4",), {"levels": 3})


def test_nested_specs_and_lists_are_parsed_as_values():
    parsed = parse_spec("oracle-threshold[basis=wavelet[sym4,levels=3]]")
    assert parsed.keywords == {"basis": "wavelet[sym4,levels=3]"}
    assert parse_spec("x[sizes=[1,2],y=null]").keywords == {"sizes": [1, 2], "y": None}


texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.text(st.sampled_from("ab ,=[]{}'\"\\\n\t:#&*!|>%@`?-~.0"), max_size=8),
    st.sampled_from(["010", "12:30", "on", "no", "true", "False", "null", "~", "1e-3", ".inf", "-.INF", ".nan"]),
    st.sampled_from(["1_000", "0x1f", "2024-01-01", "<<", "="]),
    st.sampled_from(["", "- a", "a: b", "a #b", "'", '"', "\\", "\n", "x[y=1]", "it''s", "C:\\new"]),
)
values = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
        texts,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(values, max_size=2),
    st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True), values, max_size=3),
)
def test_formatted_values_are_parsed_unchanged_from_one_line(positional, keywords):
    named = [f"{key}={format_value(value)}" for key, value in keywords.items()]
    text = f"unet[{','.join([*map(format_value, positional), *named])}]"
    assert text.isprintable()
    assert parse_spec(text) == Spec("unet", tuple(positional), keywords)


@given(texts)
def test_any_text_is_parsed_unchanged_even_if_nested(text):
    inner = f"faces[path={format_value(text)},size=24]"
    assert parse_spec(inner).keywords == {"path": text, "size": 24}
    outer = f"shuffled[{format_value(inner)},seed=1]"
    assert parse_spec(outer) == Spec("shuffled", (inner,), {"seed": 1})
    assert parse_spec(f"shuffled[{format_value(text)}]").positional == (text,)


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


def test_fractions_become_numbers_but_strings_stay_strings():
    number, text = Parameter("sigma", Annotated[float, Field(gt=0)] | None), Parameter("name", str)
    numbers = Parameter("sigmas", tuple[float, ...])
    assert number.check("25/255") == 25 / 255
    assert numbers.check(["15/255", 0.5]) == (15 / 255, 0.5)
    assert text.check("25/255") == "25/255"
    for wrong in ("25/0", "a/b", "0.1"):
        with pytest.raises(ParameterError, match="accepted: float"):
            number.check(wrong)
