import asyncio

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from server.errors import ClientLeftError
from server.hangup import TICK_S, Hangups
from server.listeners import open_listeners


class Client:
    def __init__(self) -> None:
        self.disconnected = False

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with Hangups().watch(Client().receive):
        await asyncio.sleep(0)


async def test_a_hangup_cancels_the_block_and_not_the_task() -> None:
    client = Client()
    client.disconnected = True
    with pytest.raises(ClientLeftError), Hangups().watch(client.receive):
        await asyncio.Event().wait()
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)


async def test_errors_of_the_block_pass_through() -> None:
    with pytest.raises(ArithmeticError), Hangups().watch(Client().receive):
        raise ArithmeticError


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def wait() -> None:
        with Hangups().watch(Client().receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_block_ends_by_the_hangup_of_its_own_client() -> None:
    hangups, clients = Hangups(), [Client() for _ in range(3)]

    async def wait(client: Client) -> None:
        with hangups.watch(client.receive):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(wait(client)) for client in clients[:2]]
    await asyncio.sleep(TICK_S / 2)
    tasks.append(asyncio.create_task(wait(clients[2])))
    for client, task in reversed(list(zip(clients, tasks, strict=True))):
        client.disconnected = True
        with pytest.raises(ClientLeftError):
            await task
        assert [later.done() for later in tasks] == [client.disconnected for client in clients]


async def test_a_block_that_began_after_a_tick_without_any_is_watched_too() -> None:
    hangups, client = Hangups(), Client()
    with hangups.watch(Client().receive):
        pass
    await asyncio.sleep(2 * TICK_S)
    client.disconnected = True
    with pytest.raises(ClientLeftError), hangups.watch(client.receive):
        await asyncio.Event().wait()


async def test_a_real_client_that_closes_its_connection_is_noticed() -> None:
    hangups = Hangups()
    began, left = asyncio.Event(), asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with hangups.watch(receive):
                began.set()
                await asyncio.Event().wait()
        except ClientLeftError:
            left.set()

    (listener,) = open_listeners("127.0.0.1", 0, 1)
    # The protocol that the server runs on; no lifespan, as the application has none.
    server = uvicorn.Server(uvicorn.Config(wait, http="httptools", lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    _, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
    await asyncio.wait_for(began.wait(), 10)
    writer.close()
    await asyncio.wait_for(left.wait(), 10)
    server.should_exit = True
    await serving
