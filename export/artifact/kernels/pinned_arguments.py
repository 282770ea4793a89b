"""What a kernel is given at every call and never changes: arrays that numba takes apart once, not at each call.

To take an array apart, and to put it together when the call ends, is 0.07 us while its description is in a cache near
to the core. A kernel that reads all of a model is given forty.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.experimental import structref


@structref.register
class _KeptType(types.StructRef):
    """What numba knows a `Kept` as: by the type of its values."""

    def preprocess_fields(self, fields: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """A number in the values may change from one model to another, so it is no part of the type."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)  # type: ignore[no-untyped-call, unused-ignore]


class Kept(structref.StructRefProxy):  # type: ignore[misc, unused-ignore]
    """Keeps a tuple, tuples within it, arrays and numbers; a kernel finds it as `values`.

    Args:
        values: the tuple; its arrays live as long as this does.
    """

    values: tuple[Any, ...]

    def __new__(cls, values: tuple[Any, ...]) -> Kept:
        """Take the values apart, in a kernel that is compiled once for each type of them."""
        kept: Kept = _keep(values)
        return kept


structref.define_constructor(Kept, _KeptType, ["values"])  # type: ignore[no-untyped-call, unused-ignore]
structref.define_attributes(_KeptType)  # type: ignore[no-untyped-call, unused-ignore]
structref.define_boxing(_KeptType, Kept)  # type: ignore[no-untyped-call, unused-ignore]


@njit(cache=True)
def _keep(values: tuple[Any, ...]) -> Kept:
    return Kept(values)
