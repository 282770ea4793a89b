"""The texts that all engines score, and the comparison of their answers; both are Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from astec.loadtest.scale.errors import ScaleError

_PARTS_PER_CORE: Final = 4


def write_texts(folder: Path, texts: Sequence[str], count: int, cores: int) -> Path:
    """Write texts, repeated until there are `count`, with their numbers: in parts into a folder, and whole beside it.

    Returns:
        The folder; the file beside it has the same name with the suffix `.parquet`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    table = pa.table({"row": list(range(count)), "query": list(islice(cycle(texts), count))})
    pq.write_table(table, folder.with_suffix(".parquet"))
    rows = -(-count // (_PARTS_PER_CORE * cores))
    for part, begin in enumerate(range(0, count, rows)):
        pq.write_table(table.slice(begin, rows), folder / f"part-{part}.parquet")
    return folder


def count_same(expected: Path, answers: Path) -> int:
    """Return how many texts an engine gave the same predictions as `astec-predict`: labels, order and scores.

    Args:
        expected: the file of `astec-predict`, in the order of the texts.
        answers: the folder of the engine, with the numbers of the texts.

    Raises:
        ScaleError: The engine did not answer every text once.
    """
    import pyarrow.parquet as pq

    predictions = pq.read_table(expected).column("predictions").to_pylist()
    found = pq.read_table(answers).sort_by("row")
    if found.column("row").to_pylist() != list(range(len(predictions))):
        raise ScaleError(
            f"{answers.name} has {len(found):,} answers, which are not one for each of {len(predictions):,} texts"
        )
    return sum(one == other for one, other in zip(predictions, found.column("predictions").to_pylist(), strict=True))
