"""`Xf.txt` and `Y.txt`: the names of feature and label ids, one per line, beside the files that use the ids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.lines import decode_line, read_lines
from astec.export.readers.streams.compression import find_beside


def read_names_beside(path: Path, stem: str, size: int, encoding: str | None = None) -> list[str] | None:
    """Read distinct names from `<stem>.txt`, compressed or not, in the folder of `path`; None where there is none.

    Where a name is empty or already in use, the id is appended, so that every id has a unique name.

    Raises:
        DataError: there are not exactly `size` names, or a name is not UTF-8.
    """
    file = find_beside(path, f"{stem}.txt")
    if file is None:
        return None
    names: list[str] = []
    for number, line in enumerate(read_lines(file, encoding=encoding), 1):
        try:
            names.append(decode_line(line).strip())
        except BadLineError as error:
            raise DataError(file, number, str(error), f"Convert {file.name} to UTF-8") from None
    if len(names) != size:
        problem = f"{len(names)} names for the {size} ids in the header of {path.name}"
        raise DataError(file, None, problem, f"Use the {file.name} that came with the data, or take it away")
    return distinct_names(names)


def distinct_names(names: Iterable[str]) -> list[str]:
    """Return the names by id; where a name is empty or already in use, the id is appended."""
    distinct: dict[str, None] = {}
    for number, given in enumerate(names):
        name = given
        while not name or name in distinct:
            name = f"{name} #{number}".lstrip()
        distinct[name] = None
    return list(distinct)
