"""YAML with the core schema, and numbers and strings formatted for people."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.core_yaml import as_number, dump_flow, load_scalar
from gahbench._util.readable import brief, format_duration, format_number, level_name, pluralize

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


DURATIONS = {
    0: "0.0 s", 9.94: "9.9 s", 9.96: "10 s", 59.4: "59 s", 59.6: "1 min 00 s", 3599.6: "1 h 00 min", 7500: "2 h 05 min",
    86399: "1 d 00 h", 273600: "3 d 04 h", float("inf"): "unknown",
}  # fmt: skip
COUNTS = {0: "0", 840: "840", 1000: "1.0 k", 9949: "9.9 k", 92_160: "92 k", 999_600: "1.0 M", 7.66e6: "7.7 M"}


def test_durations_and_counts_are_formatted():
    assert {seconds: format_duration(seconds) for seconds in DURATIONS} == DURATIONS
    assert {count: format_number(count) for count in COUNTS} == COUNTS


def test_names_of_noise_levels_are_unique():
    close = (0.1234567, 0.12345671)
    assert len({level_name(sigma) for sigma in close}) == 2
    assert level_name(0.06) == "0.06"
    assert all(float(level_name(sigma)) == sigma for sigma in close)
    for grey in (1, 15, 25.5, 50, 100):
        assert float(as_number(level_name(grey / 255))) == grey / 255
    assert level_name(50 / 255) == "50/255"
    assert level_name(51 / 255) == "0.2"


def test_nouns_have_plurals():
    assert [pluralize(number, "unit") for number in (0, 1, 2)] == ["0 units", "1 unit", "2 units"]


def test_external_texts_become_a_short_line():
    assert brief("two\nlines\tand \x1b[2J") == "two lines and \\x1b[2J"
    assert brief(FileNotFoundError(2, "No such file", "x")) == "No such file"
    assert brief(ValueError()) == "ValueError"
    assert len(brief("x" * 10_000)) <= 200
