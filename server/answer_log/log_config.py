"""What is logged of answers, and where; checked before the server starts."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from astec.server.settings import LogFormat, LoggedQueries, Settings

logger = logging.getLogger(__name__)

MIN_KEY_BYTES = 16
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


class AnswerLogError(Exception):
    """Answers cannot be logged as the settings say; the message gives the reason and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The configuration of the answer log.

    Attributes:
        folder: Where the files are; it exists and can be written to.
        share: The share of the requests that are logged.
        queries: The form in which queries are stored.
        key: The key of the hashes of queries; empty where none are stored.
        format: The format of finished files.
        max_bytes: Bytes of records, before compression, after which a file is finished.
        max_age_s: Seconds after which a file is finished.
    """

    folder: Path
    share: float = 1.0
    queries: LoggedQueries = "full"
    key: bytes = b""
    format: LogFormat = "jsonl"
    max_bytes: int = 64 << 20
    max_age_s: float = 3600.0


def read_log_config(settings: Settings) -> LogConfig | None:
    """Return the configuration of the answer log, and make its folder; None: answers are not logged.

    Raises:
        AnswerLogError: The folder cannot be written to, the key cannot be used, or pyarrow is missing.
    """
    if settings.log_answers is None:
        return None
    if settings.log_format == "parquet" and find_spec("pyarrow") is None:
        raise AnswerLogError(
            "--log-format parquet needs pyarrow, which is not installed. Install it (pip install 'astec[bulk]'), or "
            "use --log-format jsonl"
        )
    folder = settings.log_answers.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AnswerLogError(f"the folder {folder} for answers cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AnswerLogError(f"the folder {folder} for answers cannot be written to; name another with --log-answers")
    return LogConfig(
        folder=folder,
        share=settings.log_share,
        queries=settings.log_queries,
        key=_read_key(settings.log_key_file) if settings.log_queries == "hashed" else b"",
        format=settings.log_format,
        max_bytes=settings.log_file_mb << 20,
        max_age_s=settings.log_file_s,
    )


def _read_key(path: Path | None) -> bytes:
    if path is None:
        raise AnswerLogError("--log-queries hashed needs a key: name its file with --log-key-file")
    try:
        key, mode = path.read_bytes().strip(), path.stat().st_mode
    except OSError as error:
        raise AnswerLogError(f"the key in {path} cannot be read: {error.strerror}") from error
    if len(key) < MIN_KEY_BYTES:
        raise AnswerLogError(
            f"the key in {path} has {len(key)} bytes; at least {MIN_KEY_BYTES} are hard to guess "
            "(openssl rand -hex 32 makes one)"
        )
    if mode & _OTHERS_READ:
        logger.warning("the key in %s can be read by other users; chmod 600 keeps them out", path)
    return key
