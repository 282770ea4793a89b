"""Log lines in JSON."""

import json
import logging
import logging.config
from pathlib import Path

import pytest

from astec.server.metrics.logs import QueryFreeFormatter, log_config
from astec.server.settings import Settings


def test_a_line_is_one_json_object() -> None:
    formatter = QueryFreeFormatter("%(levelname)s %(message)s", rename_fields={"levelname": "level"})
    record = logging.makeLogRecord({"msg": "two\nlines %d", "args": (2,), "levelname": "INFO"})
    assert json.loads(formatter.format(record)) == {"level": "INFO", "message": "two\nlines 2"}


def test_an_exception_is_named_and_placed_but_not_quoted() -> None:
    try:
        raise KeyError("secret query")
    except KeyError as error:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": (KeyError, error, error.__traceback__)})
    line = QueryFreeFormatter("%(message)s").format(record)
    assert "builtins.KeyError" in line
    assert "test_logs.py" in line
    assert "secret query" not in line.replace('raise KeyError(\\"secret query\\")', "")


@pytest.mark.parametrize("access_log", [True, False])
def test_the_configuration_is_one_that_logging_takes(access_log: bool) -> None:
    config = log_config(Settings(artifact=Path("a"), access_log=access_log, log_level="warning"))
    logging.config.DictConfigurator(config).configure_formatter(config["formatters"]["json"])
    assert config["root"]["level"] == "WARNING"
    assert config["loggers"]["uvicorn.access"]["propagate"] is access_log
