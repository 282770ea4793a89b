"""The types of Parquet columns that can be read as texts, labels and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow import DataType

# pyarrow is loaded only for Parquet files.


def holds_text(found: DataType) -> bool:
    """Return whether the type is one of strings."""
    import pyarrow.types as kinds

    plain = found.value_type if kinds.is_dictionary(found) else found
    return bool(kinds.is_string(plain) or kinds.is_large_string(plain) or kinds.is_string_view(plain))


def holds_labels(found: DataType) -> bool:
    """Return whether the type is one of labels, of lists of labels, or of maps from labels to weights."""
    import pyarrow.types as kinds

    if kinds.is_map(found):
        return holds_text(found.key_type) and _holds_numbers(found.item_type)
    inner = _element(found)
    plain = inner.value_type if kinds.is_dictionary(inner) else inner
    return holds_text(plain) or bool(kinds.is_integer(plain) or kinds.is_null(plain))


def holds_weights(found: DataType) -> bool:
    """Return whether the type is one of weights, or of lists of weights."""
    inner = _element(found)
    return _holds_numbers(inner) or holds_text(inner)  # of strings, some are numbers


def _holds_numbers(found: DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_integer(found) or kinds.is_floating(found) or kinds.is_decimal(found))


def _element(found: DataType) -> DataType:
    """Return the type of the elements of a list, or the type itself."""
    import pyarrow.types as kinds

    is_list = kinds.is_list(found) or kinds.is_large_list(found) or kinds.is_fixed_size_list(found)
    return found.value_type if is_list else found
