"""The trace id in lines of the log."""

from __future__ import annotations

import logging
from contextvars import ContextVar

current_trace_id: ContextVar[str] = ContextVar("current_trace_id", default="")
"""The id of the trace that the current task's request belongs to, as hexadecimal digits; empty: to none."""


class TraceIdFilter(logging.Filter):
    """Adds the field `trace_id` to the records of a request that belongs to a trace, those of the access log too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the field, unless the record has one; keep every record."""
        trace_id = current_trace_id.get()
        if trace_id and not hasattr(record, "trace_id"):
            record.trace_id = trace_id
        return True
