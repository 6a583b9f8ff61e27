"""Keys, and JSON that tells of damage."""

import re

import pytest

from gahbench._util.keys import canonical, key_of
from gahbench._util.sealed import parse_sealed, write_sealed


def test_the_order_of_names_does_not_count_and_that_of_values_does():
    assert canonical({"b": 1, "a": [2, 1]}) == '{"a":[2,1],"b":1}'
    assert key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1}) != key_of({"a": 1, "b": 2})
    assert key_of([1, 2]) != key_of([2, 1])


def test_tuples_are_lists_as_in_a_file():
    assert key_of({"a": (1, 2)}) == key_of({"a": [1, 2]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        key_of({"a": value})


def test_a_key_has_20_hexadecimal_digits():
    # The SHA-256 of the two characters {} begins so.
    assert key_of({}) == "44136fa355b3678a1146"
    assert re.fullmatch("[0-9a-f]{20}", key_of({"a": 1}))


def test_every_changed_byte_of_a_sealed_file_is_noticed(tmp_path):
    content = {"a": 1, "b": {"c": [0.1, None, "é"]}, "checksum of": "nothing"}
    write_sealed(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_bytes()
    assert parse_sealed(text) == content
    for place in range(len(text) - 1):
        changed = bytearray(text)
        changed[place] ^= 1
        try:
            found = parse_sealed(bytes(changed))
        except ValueError:
            continue
        # The name of the checksum itself was hit: all else is as it was.
        assert {name: found[name] for name in content} == content
        assert len(found) == len(content) + 1
