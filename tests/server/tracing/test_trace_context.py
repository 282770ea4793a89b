"""The header `traceparent`, read as OpenTelemetry's own propagator reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from astec.server.tracing.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def by_opentelemetry(header: str) -> TraceContext | None:
    context = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": header})).get_span_context()
    return TraceContext(context.trace_id, context.span_id, context.trace_flags.sampled) if context.is_valid else None


def test_a_header_is_read() -> None:
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-01".encode()) == (int(TRACE, 16), int(SPAN, 16), True)
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-00".encode()) == (int(TRACE, 16), int(SPAN, 16), False)


@pytest.mark.parametrize(
    ("header", "is_valid"),
    [
        (f"00-{TRACE}-{SPAN}-03", True),
        (f" 00-{TRACE}-{SPAN}-01\t", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
        (f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like", False),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE[:-1]}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f"0-{TRACE}-{SPAN}-01", False),
        ("", False),
        ("nothing", False),
    ],
)
def test_what_is_valid_is_what_opentelemetry_takes(header: str, is_valid: bool) -> None:
    found = parse_traceparent(header.encode())
    assert (found is not None) is is_valid
    assert found == by_opentelemetry(header)


HEX = "0123456789abcdef"


@given(
    st.text(HEX, min_size=2, max_size=2),
    st.text(HEX, min_size=31, max_size=33),
    st.text("0" + HEX, min_size=16, max_size=16),
    st.text(HEX + "g", min_size=2, max_size=2),
    st.sampled_from(["", "-", "-x", " "]),
)
def test_any_header_is_read_as_opentelemetry_reads_it(
    version: str, trace: str, span: str, flags: str, more: str
) -> None:
    header = f"{version}-{trace}-{span}-{flags}{more}"
    assert parse_traceparent(header.encode()) == by_opentelemetry(header)
