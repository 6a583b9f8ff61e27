"""Keys of documents, and checksums of JSON files."""

import re

import pytest

from gahbench._util.records import canonical, key_of, parse_sealed, write_sealed


def test_the_order_of_names_does_not_change_keys_but_the_order_of_values_does():
    assert canonical({"b": 1, "a": [2, 1]}) == '{"a":[2,1],"b":1}'
    assert key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1}) != key_of({"a": 1, "b": 2})
    assert key_of([1, 2]) != key_of([2, 1])


def test_tuples_have_the_keys_of_lists():
    assert key_of({"a": (1, 2)}) == key_of({"a": [1, 2]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_json_cannot_represent_raise(value):
    with pytest.raises(ValueError, match="JSON"):
        key_of({"a": value})


def test_a_key_has_20_hexadecimal_digits():
    # The first digits of the SHA-256 of "{}".
    assert key_of({}) == "44136fa355b3678a1146"
    assert re.fullmatch("[0-9a-f]{20}", key_of({"a": 1}))


def test_every_changed_byte_of_a_sealed_file_is_detected(tmp_path):
    content = {"a": 1, "b": {"c": [0.1, None, "é"]}, "checksum of": "nothing"}
    write_sealed(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_bytes()
    assert parse_sealed(text) == content
    for index in range(len(text) - 1):
        changed = bytearray(text)
        changed[index] ^= 1
        try:
            parsed = parse_sealed(bytes(changed))
        except ValueError:
            continue
        # If the change hits the name of the checksum, the content is unchanged.
        assert {name: parsed[name] for name in content} == content
        assert len(parsed) == len(content) + 1
