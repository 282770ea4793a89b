"""The acceptor with a real listening socket and many connections at once."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

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
