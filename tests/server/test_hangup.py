import asyncio

import pytest
from starlette.types import Message

from server.errors import ClientLeftError
from server.hangup import GRACE_S, Hangups


class Client:
    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with Hangups().watch(Client().receive):
        await asyncio.sleep(0)


async def test_a_hangup_cancels_the_block_and_not_the_task() -> None:
    client = Client()
    client.left.set()
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
    await asyncio.sleep(GRACE_S / 2)
    tasks.append(asyncio.create_task(wait(clients[2])))
    for client, task in reversed(list(zip(clients, tasks, strict=True))):
        client.left.set()
        with pytest.raises(ClientLeftError):
            await task
        assert [later.done() for later in tasks] == [client.left.is_set() for client in clients]
