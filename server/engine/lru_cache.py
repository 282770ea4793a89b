"""A cache that evicts the least recently used entry."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """A bounded dictionary that evicts the entry that was used least recently. Belongs to one thread.

    Args:
        capacity: The most entries; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Key, Value] = OrderedDict()  # In order of use, the latest last.

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Evict all entries."""
        self._entries.clear()

    def get(self, key: Key) -> Value | None:
        """Return the value of `key`, or None if there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Store `value`, and evict an entry if there are too many."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
