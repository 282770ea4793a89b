"""The choice of the requests that are logged."""

from __future__ import annotations

from hashlib import blake2b

_HASH_BYTES = 8


class Sample:
    """A share of all requests, chosen by a hash of their ids.

    The hash decides, and not chance: all queries of a request, its repetition at another worker, and the records of any
    other service that chooses in the same way, are there together or not at all, so that a join finds both sides or
    none. A smaller share is a part of every larger one.

    Args:
        share: The share, above 0 and at most 1.
    """

    def __init__(self, share: float) -> None:
        self._is_everything = share >= 1
        self._bound = share * 2.0 ** (8 * _HASH_BYTES)

    def has(self, request_id: bytes) -> bool:
        """Return whether the request with this id is logged."""
        if self._is_everything:
            return True
        return int.from_bytes(blake2b(request_id, digest_size=_HASH_BYTES).digest()) < self._bound
