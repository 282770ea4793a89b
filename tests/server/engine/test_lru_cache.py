"""The cache of responses."""

from hypothesis import given, settings
from hypothesis import strategies as st

from astec.server.engine.lru_cache import LruCache

STEPS = st.lists(st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 8), st.integers()), max_size=60)


@settings(derandomize=True, deadline=None)
@given(steps=STEPS, capacity=st.integers(0, 5))
def test_it_does_what_a_list_in_order_of_use_would_do(steps: list[tuple[str, int, int]], capacity: int) -> None:
    cache = LruCache[int, int](capacity)
    model: dict[int, int] = {}  # In order of use, the latest last.
    for step, key, value in steps:
        if step == "put":
            model.pop(key, None)
            model[key] = value
            cache.put(key, value)
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
        model = dict(list(model.items())[-capacity:]) if capacity else {}
        assert len(cache) == len(model)
    assert {key: cache.get(key) for key in range(9) if cache.get(key) is not None} == model


def test_what_is_falsy_is_still_an_entry() -> None:
    cache = LruCache[str, bytes](1)
    cache.put("a", b"")
    assert cache.get("a") == b""
