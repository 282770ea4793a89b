"""The acceptor with a real listening socket and many connections at once."""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import pytest

from astec.server.http.acceptor import ConnectionAcceptor
from astec.server.http.listeners import open_listeners

CLIENTS = 50


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    (listener,) = open_listeners("127.0.0.1", 0, 1)
    with listener:
        yield listener


async def greeting(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_all_pending_connections_are_accepted_in_one_turn_of_the_loop(listener: socket.socket) -> None:
    listener.listen(CLIENTS)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
    connected: list[Greeter] = []

    def protocol() -> Greeter:
        connected.append(Greeter())
        return connected[-1]

    acceptor = ConnectionAcceptor(listener, protocol, CLIENTS)
    for _ in range(3):  # The loop sees the listener, accepts all connections, and starts the task of each.
        await asyncio.sleep(0)
    await acceptor.wait_closed()
    assert len(connected) == CLIENTS
    for client in clients:
        with client:
            client.settimeout(10)
            assert await asyncio.to_thread(client.recv, 16) == b"hello"
    acceptor.close()


async def test_acceptors_that_share_a_socket_take_turns(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astec.server.http.acceptor._SHARED_PAUSE_S", 3600)
    listener.listen(CLIENTS)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
    accepted: Counter[int] = Counter()

    def counting(number: int) -> Greeter:
        accepted[number] += 1
        return Greeter()

    sockets = [listener, listener.dup()]
    acceptors = [
        ConnectionAcceptor(each, partial(counting, number), CLIENTS, is_shared=True)
        for number, each in enumerate(sockets)
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    assert accepted == {0: 4, 1: 4}
    for acceptor in acceptors:
        acceptor.close()
    for client in clients:
        client.close()


async def test_an_acceptor_of_a_shared_socket_accepts_the_rest_later(listener: socket.socket) -> None:
    acceptor = ConnectionAcceptor(listener, Greeter, CLIENTS, is_shared=True)
    greetings = await asyncio.gather(*[greeting(listener.getsockname()) for _ in range(CLIENTS)])
    assert greetings == [b"hello"] * CLIENTS
    acceptor.close()


async def test_a_closed_acceptor_accepts_no_connection_and_may_be_closed_again(listener: socket.socket) -> None:
    address = listener.getsockname()
    acceptor = ConnectionAcceptor(listener, Greeter, CLIENTS)
    assert await greeting(address) == b"hello"
    acceptor.close()
    acceptor.close()
    await acceptor.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await greeting(address)


class Crowded(socket.socket):
    """A listening socket of a process that has no file descriptor left for some time."""

    refusals = 0
    end = 0

    def accept(self) -> tuple[socket.socket, object]:
        if self.refusals < self.end:
            self.refusals += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_file_descriptors_it_pauses_and_accepts_again_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("astec.server.http.acceptor._PAUSE_S", 0.01)
    with Crowded(fileno=listener.detach()) as crowded:
        crowded.end = 2
        acceptor = ConnectionAcceptor(crowded, Greeter, CLIENTS)
        assert await greeting(crowded.getsockname()) == b"hello"
        acceptor.close()
    assert caplog.text.count("no connection is taken for 0.01 s: Too many open files") == 2


async def test_an_acceptor_that_is_closed_during_a_pause_stays_closed(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astec.server.http.acceptor._PAUSE_S", 0.01)
    with Crowded(fileno=listener.detach()) as crowded:
        crowded.end = 1_000_000
        acceptor = ConnectionAcceptor(crowded, Greeter, CLIENTS)
        waiting = asyncio.create_task(greeting(crowded.getsockname()))
        while crowded.refusals < 3:
            await asyncio.sleep(0)
        acceptor.close()
        refusals = crowded.refusals
        await asyncio.sleep(0.1)
        assert crowded.refusals == refusals
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
