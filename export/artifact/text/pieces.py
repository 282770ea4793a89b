"""Queries as sequences of word pieces, for transformers: cut by the tokenizer that such a model brings along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.artifact.text.words import Sequences

TOKENIZER_FILE = "tokenizer.json"


class PieceReader:
    """The pieces of a text as a tokenizer of the library `tokenizers` cuts them, those that frame a text included.

    Args:
        tokenizer: its `tokenizer.json`.
        max_length: pieces of a text that are read, the first.
        max_chars: characters of a text that are looked at.

    Attributes:
        num_rows: pieces that there are.

    Raises:
        ValueError: the library is not installed, or cannot read `tokenizer`.
    """

    def __init__(self, tokenizer: bytes, max_length: int, max_chars: int) -> None:
        try:
            from tokenizers import Tokenizer  # few models need it
        except ImportError as error:
            raise ValueError("the encoder reads word pieces: install the extra, pip install 'astec[pieces]'") from error
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer.decode())
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_length)
        except Exception as error:  # the library has no other
            raise ValueError(f"{TOKENIZER_FILE} does not describe a tokenizer: {error}") from error
        self._max_chars, self.num_rows = max_chars, self._tokenizer.get_vocab_size(with_added_tokens=True)

    def check(self, query: Query) -> None:
        """Raises QueryKindError for anything but a text."""
        if not isinstance(query, str):
            raise QueryKindError("this model reads the word pieces of a text; send a text")

    def read(self, queries: Sequence[Query]) -> Sequences:
        """The pieces of B texts; none of a text that has only those which frame every text.

        Raises:
            QueryKindError: for a query that `check` refuses.
        """
        ids, ends = list[int](), [0]
        for query in queries:
            self.check(query)
            # One by one: in a batch the library would start threads of its own, and fork with them.
            encoding = self._tokenizer.encode(str(query)[: self._max_chars])
            if not all(encoding.special_tokens_mask):
                ids += encoding.ids
            ends.append(len(ids))
        return Sequences(np.array(ids, np.int32), np.array(ends, np.int64))
