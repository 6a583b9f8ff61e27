"""Specs: parsing and formatting."""

from hypothesis import given
from hypothesis import strategies as st

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
