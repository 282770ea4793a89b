"""The file of a Unix domain socket: who may take it, who may connect, and when it goes."""

import os
import socket
import stat
from pathlib import Path

import pytest

from astec.server.http.listeners import ListenError
from astec.server.http.unix_listener import UnixListener


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short path, since that of a socket has at most 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return Path("astec.sock")


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_has_the_permissions_that_were_asked_for_whatever_the_mask(path: Path, mode: int) -> None:
    mask = os.umask(0o077)
    try:
        with UnixListener(path, mode).socket:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert os.umask(0o077) == 0o077
    finally:
        os.umask(mask)


def test_the_socket_of_a_dead_server_is_replaced(path: Path) -> None:
    with UnixListener(path, 0o660).socket as dead:
        dead.listen()
    assert path.is_socket()
    with UnixListener(path, 0o660).socket as listener, socket.socket(socket.AF_UNIX) as client:
        listener.listen()
        client.connect(str(path))


@pytest.mark.parametrize("backlog", ["free", "full"])
def test_the_socket_of_a_live_server_is_left_alone(path: Path, backlog: str) -> None:
    with UnixListener(path, 0o660).socket as live, socket.socket(socket.AF_UNIX) as client:
        live.listen(0)
        if backlog == "full":
            client.connect(str(path))
        with pytest.raises(ListenError, match=r"astec\.sock: another server listens there\. Stop it, or .*--uds"):
            UnixListener(path, 0o660)
        assert path.is_socket()
        live.accept()[0].close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_file_of_another_kind_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("elsewhere.sock")
    before = path.lstat()
    with pytest.raises(ListenError, match=r"astec\.sock: it exists, and is no socket\. Remove it, or .*--uds"):
        UnixListener(path, 0o660)
    assert path.lstat() == before
    assert not Path("elsewhere.sock").exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("missing/s", "No such file"), ("x" * 108, "too long"), ("f/s", "Not a d")]
)
def test_a_path_where_no_socket_can_be_is_refused(path: Path, name: str, reason: str) -> None:
    path.with_name("f").touch()
    with pytest.raises(ListenError, match=rf"cannot listen on {name}: .*{reason}.*107 bytes"):
        UnixListener(Path(name), 0o660)


def test_a_socket_of_datagrams_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(ListenError, match=r"astec\.sock: Protocol wrong type"):
            UnixListener(path, 0o660)
    assert path.is_socket()


def test_the_file_stays_when_the_socket_is_closed_and_goes_when_it_is_removed(path: Path) -> None:
    listener = UnixListener(path, 0o660)
    with listener.socket.dup():
        pass
    assert path.is_socket()
    listener.remove_file()
    assert not path.exists()
    listener.remove_file()
    listener.socket.close()


def test_a_file_that_another_server_made_since_is_left_alone(path: Path) -> None:
    first = UnixListener(path, 0o660)
    path.unlink()
    with UnixListener(path, 0o660).socket:
        first.remove_file()
        assert path.is_socket()
    first.socket.close()
