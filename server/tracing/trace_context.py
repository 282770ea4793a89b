"""The header `traceparent` of a request, by which its caller says which trace it belongs to (W3C Trace Context)."""

from __future__ import annotations

import re
from typing import NamedTuple

_parse = re.compile(rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*").fullmatch
_SAMPLED = 1
_THIS_VERSION, _NO_VERSION = b"00", b"ff"


class TraceContext(NamedTuple):
    """What a caller says of its trace.

    Attributes:
        trace_id: The trace, 128 bits.
        span_id: The caller's own span, 64 bits.
        is_sampled: Whether the caller records the trace, so that everybody should.
    """

    trace_id: int
    span_id: int
    is_sampled: bool


def parse_traceparent(header: bytes) -> TraceContext | None:
    """Return what a header says; None if it is not valid, so that a new trace has to begin.

    Headers of later versions may have more fields at their end, which are ignored.
    """
    found = _parse(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == _NO_VERSION or (version == _THIS_VERSION and more):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return context if context.trace_id and context.span_id else None
