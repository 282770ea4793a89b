"""How clients are told to close their connections, on sockets of this process."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from astec.server.rpc.connections import GOAWAY, send_clients_away

FIRST_FRAME = bytes.fromhex("000000040000000000")  # an empty SETTINGS frame


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connect(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new connection, the server's first."""
    client = socket.create_connection(listener.getsockname(), timeout=60)
    server, _ = listener.accept()
    return server, client


def received(client: socket.socket) -> bytes:
    """What has arrived by now."""
    client.setblocking(False)
    try:
        return client.recv(100)
    except BlockingIOError:
        return b""


def test_the_frame_is_as_the_standard_has_it() -> None:
    assert bytes.fromhex("000008 07 00 00000000 7fffffff 00000000") == GOAWAY


async def test_a_client_is_told_once_and_only_between_two_frames(listener: socket.socket) -> None:
    begun, told = connect(listener)
    other, silent = connect(listener)
    with begun, told, other, silent, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        foreign, bystander = connect(elsewhere)
        with foreign, bystander:
            for each in (begun, foreign):
                each.sendall(FIRST_FRAME)
            await send_clients_away(listener.getsockname()[1], 0.2)
            assert received(told) == FIRST_FRAME + GOAWAY
            assert received(silent) == b""  # It would take the frame for the server's first.
            assert received(bystander) == FIRST_FRAME


async def test_nothing_is_put_behind_what_a_client_has_not_taken(listener: socket.socket) -> None:
    server, client = connect(listener)
    with server, client:
        server.setblocking(False)
        sent = 0
        while True:
            try:
                sent += server.send(b"x" * 65_536)
            except BlockingIOError:
                break
        await send_clients_away(listener.getsockname()[1], 0.2)
        client.setblocking(True)
        taken = b""
        while len(taken) < sent:
            taken += client.recv(1 << 20)
        assert taken == b"x" * sent
        assert received(client) == b""


async def test_it_ends_when_the_clients_have_left_and_nobody_can_connect_any_more(listener: socket.socket) -> None:
    server, client = connect(listener)
    server.sendall(FIRST_FRAME)
    going = asyncio.create_task(send_clients_away(listener.getsockname()[1], 60))
    await asyncio.sleep(0.1)
    assert not going.done()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=60)
    client.close()
    server.close()
    async with asyncio.timeout(30):
        await going
