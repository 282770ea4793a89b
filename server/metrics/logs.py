"""Structured logs on stderr, one JSON object per line, without a word of any query."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from astec.server.settings import Settings

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class QueryFreeFormatter(JsonFormatter):
    """Name an exception and where it arose, but not its message, which may quote a query."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  (logging's name)
        """Return the stack and the exception's type."""
        kind, _, stack = ei
        return "" if kind is None else "".join([*traceback.format_tb(stack), f"{kind.__module__}.{kind.__qualname__}"])


class PathOnlyFilter(logging.Filter):
    """Leave out of the access log what follows the path: no endpoint reads it, but a client may put a query there."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record of uvicorn's access log, which has the path and its query string as third argument."""
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
                # uvicorn's copy of the message with terminal colours in it.
                "reserved_attrs": [*logging.makeLogRecord({}).__dict__, "message", "asctime", "color_message"],
            }
        },
        "filters": {"path_only": {"()": "astec.server.metrics.logs.PathOnlyFilter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
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
