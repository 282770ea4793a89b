"""Errors of the servers that serve shards, as endpoints see them."""

from __future__ import annotations

from collections.abc import Sequence


class UpstreamError(Exception):
    """A shard does not answer, or the servers are not those of all shards of one model; the message names it."""


class UpstreamRefusedError(Exception):
    """The shards do not take the request.

    Args:
        fields: The name of each field that they refuse, and why.
    """

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in fields))
        self.fields = fields
