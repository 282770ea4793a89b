"""What is refused before the server starts."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from astec.server.answer_log import log_config
from astec.server.answer_log.log_config import AnswerLogError, LogConfig, read_log_config
from astec.server.settings import Settings


def settings(tmp_path: Path, **given: object) -> Settings:
    return Settings.model_validate({"artifact": tmp_path, "log_answers": tmp_path / "a" / "b", **given})


def test_answers_are_not_logged_unless_asked(tmp_path: Path) -> None:
    assert read_log_config(Settings(artifact=tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    config = read_log_config(settings(tmp_path, log_share=0.5, log_file_mb=2, log_file_s=60))
    assert config == LogConfig(folder=tmp_path / "a" / "b", share=0.5, max_bytes=2 << 20, max_age_s=60)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_the_key_is_read_without_the_end_of_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef\n")
    key.chmod(0o600)
    config = read_log_config(settings(tmp_path, log_queries="hashed", log_key_file=key))
    assert config is not None
    assert config.key == b"0123456789abcdef"
    assert caplog.records == []
    key.chmod(0o644)
    read_log_config(settings(tmp_path, log_queries="hashed", log_key_file=key))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcde\n")
    with pytest.raises(AnswerLogError, match="has 15 bytes; at least 16 are hard to guess"):
        read_log_config(settings(tmp_path, log_queries="hashed", log_key_file=key))


def test_parquet_without_pyarrow_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_config, "find_spec", lambda name: None)
    with pytest.raises(AnswerLogError, match=r"pip install 'astec\[bulk\]'"):
        read_log_config(settings(tmp_path, log_format="parquet"))


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(AnswerLogError, match="cannot be made"):
        read_log_config(settings(tmp_path))
