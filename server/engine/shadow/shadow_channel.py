"""The channel from the workers to the process of the shadow: datagrams, so that a worker that dies harms no other."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from astec.export.artifact.text.bags import Bag, Query
from astec.server.engine.rank_request import RankRequest, RankResult

MAX_DATAGRAM_BYTES = 64 << 10
"""What a datagram is filled up to; one answer alone may be larger."""

_LARGEST_BYTES = 1 << 20
# As far as the system allows: a burst of answers must not be lost.
_BUFFER_BYTES = 1 << 20
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


class Answered(NamedTuple):
    """A query, what was asked about it, and the texts of the labels that it was answered with, best first."""

    query: Query
    top_k: int
    min_score: float
    labels: list[str]


class ShadowChannel:
    """Two ends that are made before the workers are forked, and stay open in the parent: no end is ever missing."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        for end in (self._receiver, self._sender):
            end.setblocking(False)
        self._arrival = select.poll()
        self._arrival.register(self._receiver, select.POLLIN)

    def close(self) -> None:
        """Close the ends of this process."""
        self._receiver.close()
        self._sender.close()

    def send(self, content: bytes) -> None:
        """Send encoded answers, without waiting.

        Raises:
            BlockingIOError: There is no room now.
            OSError: They are too large.
        """
        self._sender.send(content)

    def receive(self, timeout_s: float) -> list[Answered]:
        """Return the answers of the next datagram; none if there is none within the time."""
        if not self._arrival.poll(timeout_s * 1e3):
            return []
        try:
            return decode(self._receiver.recv(_LARGEST_BYTES))
        except BlockingIOError:  # Another process was faster: the one that replaces this one.
            return []


def encode(request: RankRequest, result: RankResult) -> bytes:
    """Return the JSON of an answer."""
    query = request.query
    sent: object = query if isinstance(query, str) else [query.ids, query.weights]
    labels: object = orjson.Fragment(result.json) if result.json else result.labels.texts
    return orjson.dumps([sent, request.top_k, request.min_score, labels], option=_OPTIONS)


def join(encoded: Sequence[bytes]) -> bytes:
    """Return the content of a datagram with some answers."""
    return b"[%b]" % b",".join(encoded)


def decode(content: bytes) -> list[Answered]:
    """Return the answers of a datagram."""
    answered = []
    for sent, top_k, min_score, ranked in orjson.loads(content):
        query = sent if isinstance(sent, str) else Bag(np.array(sent[0], np.int32), np.array(sent[1], np.float32))
        labels = [one if isinstance(one, str) else one["label"] for one in ranked]
        answered.append(Answered(query, top_k, min_score, labels))
    return answered
