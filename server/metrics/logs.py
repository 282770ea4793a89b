"""Structured logs on stderr, one JSON object per line, which never contain the text of a query."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from astec.server.settings import Settings

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class QueryFreeFormatter(JsonFormatter):
    """A JSON formatter that logs an exception's type and stack, but not its message, which may quote a query."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  (logging's name)
        """Return the stack and the type of an exception."""
        kind, _, stack = ei
        return "" if kind is None else "".join([*traceback.format_tb(stack), f"{kind.__module__}.{kind.__qualname__}"])


class PathOnlyFilter(logging.Filter):
    """A filter that removes query strings from the access log: clients may put texts in."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove the query string from a record of uvicorn's access log, where it is part of the third argument."""
        if isinstance(record.args, tuple):
            client, method, path, *rest = record.args
            record.args = (client, method, str(path).partition("?")[0], *rest)
        return True


def log_config(settings: Settings) -> dict[str, Any]:
    """Return the `logging.config.dictConfig` schema for the server and its workers."""
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "astec.server.metrics.logs.QueryFreeFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s %(process)d %(message)s",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger", "process": "pid"},
                # `color_message` is uvicorn's second copy of a message, with terminal colours.
                "reserved_attrs": [*logging.makeLogRecord({}).__dict__, "message", "asctime", "color_message"],
            }
        },
        "filters": {
            "path_only": {"()": "astec.server.metrics.logs.PathOnlyFilter"},
            "trace_id": {"()": "astec.server.tracing.log_filter.TraceIdFilter"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": [] if settings.otlp_endpoint is None else ["trace_id"],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "uvicorn": {"handlers": [], "level": level, "propagate": True},
            "uvicorn.access": {
                "handlers": [],
                "level": "INFO",
                "filters": ["path_only"],
                "propagate": settings.access_log,
            },
        },
    }
