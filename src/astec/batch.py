"""Rank labels for the texts of Arrow tables: the callable that Ray Data and Spark run in their processes.

`ray.data.Dataset.map_batches` takes `Predictor` itself, and Spark's `DataFrame.mapInArrow` a function that maps one
over record batches. docs/engines.md has both, and what to set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from os import PathLike
from threading import Lock
from typing import Any, TypeVar

from astec.arguments import Conditions, checked, selection_of
from astec.export.artifact.verification import Verification
from astec.export.artifact_cache import open_artifact_at
from astec.export.readers.columns.arrow_texts import to_texts
from astec.export.readers.columns.column_choice import ColumnError, find_column
from astec.export.readers.columns.parquet_types import holds_text
from astec.server.offline.bulk.arrow_predictions import PREDICTIONS, predictions_type, to_predictions
from astec.server.offline.bulk.options import ScoringOptions
from astec.server.offline.bulk.scorer import CHUNK_QUERIES, Scorer

Batch = TypeVar("Batch")
"""`pyarrow.Table` or `pyarrow.RecordBatch`; pyarrow has no types."""

_scorers: dict[tuple[str, ...], Scorer] = {}
_opening = Lock()


class Predictor:
    """Adds a column `predictions` to Arrow tables: for each text, its labels as `astec-predict` writes them to Parquet.

    A prediction has `label_id`, `label`, `score` and maybe `probability`; best labels come first. The answers are those
    of `astec-predict` and of `POST /predict` for the same artifact.

    It pickles as its arguments. The artifact is opened by the first table, once in a process for all predictors with
    the same arguments, and mapped: the processes of a machine share its memory. It stays the same until the process
    ends, so give each version of a model a path or address of its own.

    Args:
        artifact: The folder of an artifact, which each machine must have at this path; or an address such as
            `s3://bucket/model`, from where a machine copies it once.
        column: The column of the texts; None: `query`, `text` or the only one. A null is a text without labels.
        top_k: Most labels of a text, from 1 to 100.
        min_score: Labels with a lower score are left out; from 0 to 1.
        probabilities: Also give each prediction the probability that its label is right.
        filter: By column of the label metadata, one value or several; a label must have one of them.
        exclude: By column of the label metadata, one value or several; a label that has one is left out.
        verify: As for `astec.load`: "sizes" opens a folder faster than "hashes", which each process would compare.

    Raises:
        ValueError: An argument is outside its limits.
    """

    def __init__(
        self,
        artifact: str | PathLike[str],
        *,
        column: str | None = None,
        top_k: int = 5,
        min_score: float = 0.0,
        probabilities: bool = False,
        filter: Conditions | None = None,  # noqa: A002  (the name that the HTTP API has)
        exclude: Conditions | None = None,
        verify: Verification = "hashes",
    ) -> None:
        if verify not in ("hashes", "sizes"):
            raise ValueError(f"verify is {verify!r}; give 'hashes' or 'sizes'")
        place = os.fspath(artifact)
        self._artifact = place if "://" in place else os.path.abspath(place)  # noqa: PTH100
        self._verify: Verification = verify
        self._column = column
        self._request = checked(top_k, min_score, probabilities, filter, exclude)

    def __call__(self, batch: Batch) -> Batch:
        """Return a table or record batch with the column `predictions` after its own.

        Raises:
            ValueError: The column of the texts is not there or holds no strings, there is a column `predictions`, or
                the model does not support an argument.
            QueryKindError: The model reads no texts.
            ArtifactError: There is no artifact, it is damaged, or this machine has no room for it.
        """
        import pyarrow as pa

        table: Any = batch  # pyarrow has no types
        column = table.column(self._position(table.schema))
        found = pa.chunked_array(self._predict(column), predictions_type(self._request.probabilities))
        if isinstance(table, pa.RecordBatch):
            found = found.combine_chunks()
        added: Batch = table.append_column(PREDICTIONS, found)
        return added

    def output_schema(self, schema: Any) -> Any:  # noqa: ANN401  # pyarrow has no types
        """Return the `pyarrow.Schema` of the answers to tables with a schema; it opens no artifact.

        Raises:
            ValueError: As for a table.
        """
        import pyarrow as pa

        self._position(schema)
        return schema.append(pa.field(PREDICTIONS, predictions_type(self._request.probabilities)))

    def _predict(self, column: Any) -> Iterator[Any]:  # noqa: ANN401
        """Yield the predictions for the texts of an Arrow column, some texts at a time."""
        for begin in range(0, len(column), CHUNK_QUERIES):
            scorer = self._scorer()
            scored = scorer.score(to_texts(column.slice(begin, CHUNK_QUERIES)))
            yield to_predictions(*scored, scorer.artifact.labels, probabilities=self._request.probabilities)

    def _position(self, schema: Any) -> int:  # noqa: ANN401
        """Return the position of the column of the texts in a schema."""
        try:
            position = find_column(schema.names, self._column)
        except ColumnError as error:
            raise ValueError(f"{error.problem}. Pass the one that holds the texts as column") from None
        field = schema.field(position)
        if not holds_text(field.type):
            raise ValueError(
                f"column {field.name!r} holds {field.type}, not strings. Pass another column, or convert it"
            )
        if PREDICTIONS in schema.names:
            raise ValueError(f"there is a column {PREDICTIONS!r} already. Rename or drop it")
        return position

    def _scorer(self) -> Scorer:
        """Return the scorer of this process for the arguments; open the artifact if there is none yet."""
        key = (self._artifact, self._verify, self._request.model_dump_json())
        with _opening:
            if key not in _scorers:
                artifact, request = open_artifact_at(self._artifact, self._verify), self._request
                selection = selection_of(artifact, request)
                options = ScoringOptions(request.top_k, request.min_score, request.probabilities, selection)
                _scorers[key] = Scorer(artifact, options)
            return _scorers[key]
