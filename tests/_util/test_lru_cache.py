"""A small LRU cache."""

from hypothesis import given
from hypothesis import strategies as st

from gahbench._util.lru_cache import LRUCache


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 8))
def test_the_cache_keeps_the_most_recently_used_results_within_the_limit(keys, limit):
    cache, order = LRUCache(limit, lambda value: value[0] % 3), []
    for key in keys:
        computed = []
        assert cache.get(key, lambda key=key, computed=computed: computed.append(key) or (key, key)) == (key, key)
        # The expected content is a list of keys, the latest last.
        assert bool(computed) == (key not in order)
        order = [other for other in order if other != key] + [key]
        while len(order) > 1 and sum(other % 3 for other in order) > limit and computed:
            order.pop(0)
