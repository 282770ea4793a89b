"""The choice which model ranks a query: by a hash, so that chance has no part in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from astec.export.artifact.text.bags import Bag, Query

_HASH_BYTES = 8
_HASHES = 2 ** (8 * _HASH_BYTES)
# Sets this hash apart from others of the same content, such as that by which answers are sampled for the log.
_PERSON = b"astec-share"


class TrafficSplit:
    """Divides the traffic among models by a hash of the query, or of the value of a header.

    The hash has no secret and no state: the same query, or the same value, leads to the same model in every worker, on
    every machine and after every restart, as long as the shares are the same. What a smaller share of the first
    candidate sends to it, a larger one does too.

    Args:
        percents: The percent of the traffic of each candidate, that is, of each model but the first, in order. The
            first model gets what they leave.
        header: The name of the header, in lower case; empty: the query decides.
    """

    def __init__(self, percents: Sequence[float], header: bytes = b"") -> None:
        self.header = header
        self._bounds = [round(total / 100 * _HASHES) for total in accumulate(percents)]

    def model_of(self, query: Query, header_value: bytes) -> int:
        """Return the model that ranks a query: 0 is the first, 1 the first candidate.

        Args:
            query: The query.
            header_value: The value of the header; empty where the request has none, which leads to the first model.
        """
        if not self.header:
            return self._model_of_key(key_of(query))
        return self._model_of_key(header_value) if header_value else 0

    def _model_of_key(self, key: bytes) -> int:
        number = int.from_bytes(blake2b(key, digest_size=_HASH_BYTES, person=_PERSON).digest())
        for candidate, bound in enumerate(self._bounds, 1):
            if number < bound:
                return candidate
        return 0


def key_of(query: Query) -> bytes:
    """Return what is hashed of a query: the same for texts that only differ in case, spaces or Unicode form.

    No model's own rules are applied, as models may differ in them. Features are the same in any order, and with or
    without those that weigh nothing.
    """
    if isinstance(query, Bag):
        kept = query.weights != 0
        order = query.ids[kept].argsort(kind="stable")
        ids, weights = query.ids[kept][order], query.weights[kept][order]
        return b"".join([ids.astype("<i4").tobytes(), weights.astype("<f4").tobytes()])
    folded = query.lower() if query.isascii() else unicodedata.normalize("NFKC", query).casefold()
    return " ".join(folded.split()).encode()
