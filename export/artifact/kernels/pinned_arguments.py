"""Arguments of a kernel that never change: numba unpacks them once, not at each call.

Unpacking an array, and packing it again when the call ends, takes 0.07 us while its description is in the processor's
cache. A kernel that reads a whole model takes forty arrays.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.experimental import structref


@structref.register
class _PinnedArgumentsType(types.StructRef):
    """The numba type of a `PinnedArguments`, which depends on the type of its values."""

    def preprocess_fields(self, fields: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
        """Remove literal numbers from the type, so that models with different numbers share a compiled kernel."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)  # type: ignore[no-untyped-call, unused-ignore]


class PinnedArguments(structref.StructRefProxy):  # type: ignore[misc, unused-ignore]
    """Holds a tuple of arrays, numbers and tuples, which a kernel reads as `values`.

    Args:
        values: the tuple; its arrays live as long as this object.
    """

    values: tuple[Any, ...]

    def __new__(cls, values: tuple[Any, ...]) -> PinnedArguments:
        """Unpack the values, in a kernel that is compiled once for each type of values."""
        pinned: PinnedArguments = _pin(values)
        return pinned


structref.define_constructor(PinnedArguments, _PinnedArgumentsType, ["values"])  # type: ignore[no-untyped-call, unused-ignore]
structref.define_attributes(_PinnedArgumentsType)  # type: ignore[no-untyped-call, unused-ignore]
structref.define_boxing(_PinnedArgumentsType, PinnedArguments)  # type: ignore[no-untyped-call, unused-ignore]


@njit(cache=True)
def _pin(values: tuple[Any, ...]) -> PinnedArguments:
    return PinnedArguments(values)
