from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.latest import Latest


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 8))
def test_it_keeps_the_latest_that_fit(asked, limit):
    latest, order = Latest(limit, lambda value: value[0] % 3), []
    for key in asked:
        found = []
        assert latest.get(key, lambda key=key, found=found: found.append(key) or (key, key)) == (key, key)
        # The model: a list, the latest last.
        assert bool(found) == (key not in order)
        order = [other for other in order if other != key] + [key]
        while len(order) > 1 and sum(other % 3 for other in order) > limit and found:
            order.pop(0)
