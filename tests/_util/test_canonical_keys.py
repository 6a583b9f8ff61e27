import re

import pytest

from gahbench._util.keys import canonical, key_of


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
