"""Queries as sequences of word pieces, for transformers: split by the tokenizer that the artifact holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.artifact.text.words import Sequences

TOKENIZER_FILE = "tokenizer.json"


class PieceReader:
    """Splits texts into pieces by a tokenizer of the library `tokenizers`, with the special pieces that frame a text.

    Args:
        tokenizer: the content of its `tokenizer.json`.
        max_length: the most pieces of a text that are read, from its beginning.
        max_chars: the most characters of a text that are read, from its beginning.

    Attributes:
        num_rows: the number of pieces that the tokenizer knows.

    Raises:
        ValueError: the library is not installed, or cannot read `tokenizer`.
    """

    def __init__(self, tokenizer: bytes, max_length: int, max_chars: int) -> None:
        try:
            from tokenizers import Tokenizer  # imported here: few models need it
        except ImportError as error:
            raise ValueError("the encoder reads word pieces: install the extra, pip install 'astec[pieces]'") from error
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_length)
        except Exception as error:  # the library raises no narrower type
            raise ValueError(f"{TOKENIZER_FILE} does not describe a tokenizer: {error}") from error
        self._max_chars, self.num_rows = max_chars, self._tokenizer.get_vocab_size(with_added_tokens=True)

    def check(self, query: Query) -> None:
        """Raise QueryKindError unless the query is a text."""
        if not isinstance(query, str):
            raise QueryKindError("this model reads the word pieces of a text; send a text")

    def read(self, queries: Sequence[Query]) -> Sequences:
        """Return the pieces of B texts; none for a text that has only the special pieces.

        Raises:
            QueryKindError: `check` refuses a query.
        """
        ids, ends = list[int](), [0]
        for query in queries:
            self.check(query)
            # One by one: for a batch the library would start threads of its own, which a later fork would break.
            encoding = self._tokenizer.encode(str(query)[: self._max_chars])
            if not all(encoding.special_tokens_mask):
                ids += encoding.ids
            ends.append(len(ids))
        return Sequences(np.array(ids, np.int32), np.array(ends, np.int64))
