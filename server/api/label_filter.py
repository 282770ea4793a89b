"""The label filter of a request: its `filter` and `exclude`, checked and turned into a selection of labels."""

from __future__ import annotations

from astec.export.artifact.labels.metadata import Conditions, LabelMetadata, LabelValue, Selection, kind_of, to_text
from astec.export.artifact.manifest import LabelColumn
from astec.server.api.schema import LabelConditions
from astec.server.errors import FieldError, InvalidFieldError, field_path


def to_selection(
    metadata: LabelMetadata | None, wanted: LabelConditions | None, unwanted: LabelConditions | None
) -> Selection | None:
    """Return the selection by a request's `filter` (`wanted`) and `exclude` (`unwanted`); None: every label.

    Raises:
        InvalidFieldError: The model has no such column, or its column has another type.
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
    """Return the conditions in canonical form, so that equal ones compare equal; errors are added to `errors`."""
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
