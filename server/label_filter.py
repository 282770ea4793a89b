"""Which labels a request may be answered with: its `filter` and `exclude`, checked, and what they allow, remembered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.label_metadata import Conditions, LabelMetadata, LabelValue, Selection, kind_of, to_text
from astec.export.artifact.manifest import LabelColumn
from astec.server.cache import LruCache
from astec.server.errors import FieldError, InvalidFieldError, field_path
from astec.server.schema import LabelConditions

MAX_MASK_BYTES = 64 << 20
"""Of memory for what selections allow, a byte for each label; in every worker."""
_MAX_MASKS = 1024


def to_selection(
    metadata: LabelMetadata | None, wanted: LabelConditions | None, unwanted: LabelConditions | None
) -> Selection | None:
    """Return what a request's `filter` and `exclude` select; None: every label.

    Raises:
        InvalidFieldError: The model has no such column, or one of another kind.
    """
    errors: list[FieldError] = []
    columns = {} if metadata is None else {column.name: column for column in metadata.columns}
    selection = Selection(
        _to_conditions("filter", wanted or {}, columns, errors),
        _to_conditions("exclude", unwanted or {}, columns, errors),
    )
    if errors:
        raise InvalidFieldError(errors)
    return selection if any(selection) else None


def _to_conditions(
    field: str, conditions: LabelConditions, columns: dict[str, LabelColumn], errors: list[FieldError]
) -> Conditions:
    """The conditions in the form in which equal ones are equal; what is wrong with them goes to `errors`."""
    texts: dict[str, tuple[str, ...]] = {}
    for name, given in conditions.items():
        values = given if isinstance(given, list) else [given]
        problem = _problem_of(columns.get(name), values, columns)
        if problem is not None:
            errors.append(FieldError(field=field_path([field, name]), message=problem))
        texts[name] = tuple(sorted(set(map(to_text, values))))
    return tuple(sorted(texts.items()))


def _problem_of(column: LabelColumn | None, values: list[LabelValue], columns: dict[str, LabelColumn]) -> str | None:
    if not columns:
        return "This model has no label metadata; export it with --label-metadata"
    if column is None:
        return f"There is no such column; the columns are {', '.join(columns)}"
    kinds = sorted({kind_of(value) for value in values} - {column.kind})
    return f"A value of this column is of type {column.kind}, not {kinds[0]}" if kinds else None


class LabelMasks:
    """What selections allow, of which those that were used last are kept. Belongs to one thread.

    Args:
        metadata: Of the labels.
    """

    def __init__(self, metadata: LabelMetadata) -> None:
        self._metadata = metadata
        capacity = min(_MAX_MASKS, max(1, MAX_MASK_BYTES // metadata.num_labels))
        self._masks = LruCache[Selection, NDArray[np.bool_]](capacity)

    def mask_of(self, selection: Selection | None) -> NDArray[np.bool_] | None:
        """Return whether each label may be answered, bool [L]; None: every one."""
        if selection is None:
            return None
        mask_L = self._masks.get(selection)
        if mask_L is None:
            mask_L = self._metadata.select(selection)
            self._masks.put(selection, mask_L)
        return mask_L
