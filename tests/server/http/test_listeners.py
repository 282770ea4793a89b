import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from astec.server.http.listeners import ListenError, block_new_connections, open_listeners, url_of


@contextmanager
def listening(host: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        listeners = open_listeners(host, port, count)
        for listener in listeners:
            stack.enter_context(listener)
            listener.listen()
            listener.settimeout(0)
        yield listeners


def taken(listener: socket.socket) -> int:
    """Accept and close all pending connections; return their number."""
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_connections_are_spread_over_the_listeners_of_one_port() -> None:
    with listening("127.0.0.1", 0, 2) as listeners, ExitStack() as stack:
        address = listeners[0].getsockname()
        for _ in range(64):
            stack.enter_context(socket.create_connection(address))
        counts = [taken(listener) for listener in listeners]
    assert sum(counts) == 64
    # A fair coin gives fewer than 8 heads in 64 throws once in a billion times.
    assert min(counts) >= 8


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_that_another_server_listens_on_is_refused(count: int) -> None:
    with listening("127.0.0.1", 0, 2) as listeners:
        port = listeners[0].getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1 port {port}: Address already in use. Stop what listens"):
            open_listeners("127.0.0.1", port, count)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1 port 0: .*another --port or --host"):
        open_listeners("192.0.2.1", 0, 1)


def test_the_url_of_a_listener_is_one_for_a_browser() -> None:
    with listening("127.0.0.1", 0, 1) as (listener,):
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    with listening("::1", 0, 1) as (listener,):
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_listener_that_lets_nobody_in_keeps_those_who_were() -> None:
    with listening("127.0.0.1", 0, 1) as (listener,), socket.create_connection(listener.getsockname()) as early:
        block_new_connections(listener)
        with socket.socket() as late:
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.connect(listener.getsockname())
        early.sendall(b"hello")
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            assert accepted.recv(5) == b"hello"
        assert taken(listener) == 0
