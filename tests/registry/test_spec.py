import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.errors import ParameterError
from gahbench.registry.spec import Spec, format_value, load_scalar, parse_spec


def test_names_and_parameters():
    assert parse_spec("unet") == Spec("unet")
    assert parse_spec("unet[]") == Spec("unet")
    assert parse_spec(" unet[width=16, bias=true] ") == Spec("unet", (), {"width": 16, "bias": True})
    assert parse_spec("wavelet[sym4,levels=3]") == Spec("wavelet", ("sym4",), {"levels": 3})


def test_nested_specs_and_lists_stay_whole():
    parsed = parse_spec("oracle-threshold[basis=wavelet[sym4,levels=3]]")
    assert parsed.keywords == {"basis": "wavelet[sym4,levels=3]"}
    assert parse_spec("x[sizes=[1,2],y=null]").keywords == {"sizes": [1, 2], "y": None}


@pytest.mark.parametrize("text", ["1e-3", "1.5E-3", "-2e4", ".5e1"])
def test_exponents_without_a_point_are_numbers(text):
    assert load_scalar(text) == float(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a name"),
        ("[a=1]", "expected a name"),
        ("unet[width=1", "not closed"),
        ("unet[width=[1]", "not closed"),
        ("unet[width=1]]", "not opened"),
        ("unet[width=1,width=2]", "given twice"),
        ("unet[width=1,2]", "follows a named"),
        ("unet[,]", "empty"),
        ("unet[a='x]", "a quote is not closed"),
        ("unet[a={x]", "cannot read"),
    ],
)
def test_what_is_wrong_is_said(text, reason):
    with pytest.raises(ParameterError, match=reason):
        parse_spec(text)


values = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True), values, max_size=4))
def test_what_is_written_is_read_back(parameters):
    text = "unet[" + ",".join(f"{key}={format_value(value)}" for key, value in parameters.items()) + "]"
    assert parse_spec(text).keywords == parameters


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), max_size=12))
def test_any_text_is_read_back_even_nested(text):
    inner = f"faces[path={format_value(text)},size=24]"
    assert parse_spec(inner).keywords == {"path": text, "size": 24}
    outer = f"shuffled[{format_value(inner)},seed=1]"
    assert parse_spec(outer) == Spec("shuffled", (inner,), {"seed": 1})
    assert parse_spec(f"shuffled[{format_value(text)}]").positional == (text,)
