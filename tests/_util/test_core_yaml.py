"""Reading and writing of YAML with the core schema."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.core_yaml import dump_flow, load_scalar

#: YAML 1.2.2, section 10.3.2.
CORE = {
    "010": 10, "-0010": -10, "0o17": 15, "0x1F": 31, "+1": 1, "5.": 5.0, ".5": 0.5, "1e-3": 1e-3, "-2E4": -2e4,
    ".inf": math.inf, "-.INF": -math.inf, "true": True, "FALSE": False, "null": None, "~": None, "": None,
}  # fmt: skip


@pytest.mark.parametrize("text", CORE)
def test_plain_scalars_follow_the_core_schema(text):
    assert load_scalar(text) == CORE[text]
    assert type(load_scalar(text)) is type(CORE[text])


#: Scalars that are numbers, booleans, dates or merge keys in YAML 1.1, and strings in YAML 1.2.
YAML_1_1_SCALARS = (
    "12:30", "190:20:30.15", "on", "Off", "yes", "n", "NO", "1_000", "0b11", "2024-01-01", "<<", "=", "tRUE", "1e", "+",
)  # fmt: skip


@pytest.mark.parametrize("text", YAML_1_1_SCALARS)
def test_special_scalars_of_yaml_1_1_are_strings(text):
    assert load_scalar(text) == text


def test_a_wrong_tag_raises():
    for text in ("!!int 1x0", "!!bool maybe", "!!int " + 5000 * "9"):
        with pytest.raises(yaml.YAMLError, match="a value cannot be read"):
            load_scalar(text)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
plain = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
        st.none(),
        texts,
        st.sampled_from(["010", "1e-3", "0o17", "12:30", "on", "~", ".inf", "1_0", "x\n", "=", "<<"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(plain)
def test_values_written_on_one_line_are_read_back(value):
    text = dump_flow(value)
    assert "\n" not in text
    assert load_scalar(text) == value
