import asyncio

import pytest
from starlette.types import Message

from server.errors import ClientLeftError
from server.hangup import Hangup


class Client:
    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with Hangup(Client().receive):
        await asyncio.sleep(0)


async def test_a_hangup_cancels_the_block_and_not_the_task() -> None:
    client = Client()
    client.left.set()
    with pytest.raises(ClientLeftError), Hangup(client.receive):
        await asyncio.Event().wait()
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)


async def test_errors_of_the_block_pass_through() -> None:
    with pytest.raises(ArithmeticError), Hangup(Client().receive):
        raise ArithmeticError


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def wait() -> None:
        with Hangup(Client().receive):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
