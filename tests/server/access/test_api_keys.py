"""The file of keys, and its changes while a server runs."""

import logging
import os
from pathlib import Path

import pytest

from astec.server.access.api_keys import ApiKeys, ApiKeysError

FIRST, SECOND, THIRD = (letter * 20 for letter in "abc")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    return path


def test_a_client_is_named_by_any_of_its_keys(file: Path) -> None:
    file.write_text(f"# clients\n\nads:{FIRST}\n ads:{SECOND} \nsearch.eu-1:{THIRD}==\n")
    keys = ApiKeys(file)
    assert [keys.name_of(key.encode()) for key in (FIRST, SECOND, f"{THIRD}==")] == ["ads", "ads", "search.eu-1"]
    assert keys.names == ["ads", "search.eu-1"]


@pytest.mark.parametrize("shown", [b"", FIRST[:-1].encode(), FIRST.upper().encode(), b"ads", b"\xff\x00" * 9])
def test_what_is_no_key_names_nobody(file: Path, shown: bytes) -> None:
    file.write_text(f"ads:{FIRST}\n")
    assert ApiKeys(file).name_of(shown) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (FIRST, "line 1 is not name:key"),
        (f"ads:{FIRST}\nads: {SECOND}", "line 2 is not name:key"),
        (f"a b:{FIRST}", "line 1 is not name:key"),
        (f"ads:{FIRST}é", "line 1 is not name:key"),
        ("ads:secret", "line 1: the key has 6 characters; at least 16"),
        (f"ads:{FIRST}\nsearch:{FIRST}", "line 2: this key has another name already"),
        ("# none yet\n", "has no key"),
        ("", "has no key"),
        ("x" * (17 << 20), "is it the file of keys"),
    ],
    ids=["no-name", "blank", "name", "not-ascii", "short", "two-names", "comments", "empty", "huge"],
)
def test_a_file_that_is_not_one_of_keys_is_refused_without_quoting_a_key(
    file: Path, content: str, complaint: str
) -> None:
    file.write_text(content)
    with pytest.raises(ApiKeysError, match=complaint) as refused:
        ApiKeys(file)
    assert FIRST not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ApiKeysError, match="nowhere cannot be read: No such file"):
        ApiKeys(tmp_path / "nowhere")


def test_keys_come_and_go_with_the_file(file: Path) -> None:
    file.write_text(f"ads:{FIRST}\n")
    keys = ApiKeys(file)
    assert not keys.refresh()
    fresh = file.with_name("fresh")
    fresh.write_text(f"ads:{SECOND}\n")
    fresh.rename(file)
    assert keys.refresh()
    assert keys.name_of(FIRST.encode()) is None
    assert keys.name_of(SECOND.encode()) == "ads"


def test_keys_edited_in_place_to_as_many_bytes_are_seen(file: Path) -> None:
    file.write_text(f"ads:{FIRST}\n")
    keys = ApiKeys(file)
    file.write_text(f"ads:{SECOND}\n")
    os.utime(file, ns=(1, 1))
    assert keys.refresh()
    assert keys.name_of(SECOND.encode()) == "ads"


def test_a_broken_or_missing_file_leaves_the_keys_and_is_logged_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f"ads:{FIRST}\n")
    keys = ApiKeys(file)
    for break_it in (lambda: file.write_text(f"ads:{FIRST}\nads"), file.unlink):
        caplog.clear()
        break_it()
        assert [keys.refresh() for _ in range(3)] == [False] * 3
        assert keys.name_of(FIRST.encode()) == "ads"
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert FIRST not in caplog.text
    file.write_text(f"ads:{SECOND}\n")
    assert keys.refresh()
    assert keys.name_of(SECOND.encode()) == "ads"


def test_a_file_whose_mode_was_mended_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f"ads:{FIRST}\n")
    keys = ApiKeys(file)
    file.write_text(f"ads:{SECOND}\n")
    with monkeypatch.context() as patch:  # The tests may run as root, who may read a file of any mode.
        patch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        assert not keys.refresh()
    assert not keys.refresh()
    file.chmod(0o640)
    assert keys.refresh()
    assert keys.name_of(SECOND.encode()) == "ads"


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o644, 1)])
def test_a_file_that_others_can_read_is_warned_of(
    file: Path, mode: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f"ads:{FIRST}\n")
    file.chmod(mode)
    ApiKeys(file)
    assert len([record for record in caplog.records if "can be read by other users" in record.message]) == warnings
