"""What a worker sends to the process of the shadow, and what it drops."""

import asyncio
from collections.abc import Callable

import numpy as np

from astec.export.artifact.labels.metadata import Selection
from astec.export.artifact.text.bags import Bag
from astec.server.engine.rank_request import NO_LABELS, RankedLabels, RankRequest, RankResult
from astec.server.engine.shadow.shadow_channel import Answered, ShadowChannel
from astec.server.engine.shadow.shadow_sender import MAX_WAITING, ShadowSender
from astec.server.metrics.board import MetricsBoard

Series = Callable[[str], float]
RESULT = RankResult(
    b'[{"label_id":3,"label":"a \\"b\\"","score":0.5},{"label_id":1,"label":"c","score":0.1}]', NO_LABELS, None
)


def not_compared(reason: str) -> str:
    return f'astec_shadow_not_compared_total{{model="next",reason="{reason}"}}'


def sender_to(channel: ShadowChannel, board: MetricsBoard) -> ShadowSender:
    sender = ShadowSender(channel, 1, board.metrics(0).of_models[1])
    sender.start()
    return sender


async def receive(channel: ShadowChannel, count: int) -> list[Answered]:
    answered: list[Answered] = []
    while len(answered) < count:
        await asyncio.sleep(0.001)
        answered += channel.receive(0)
    return answered


async def test_answers_arrive_as_they_were_given(channel: ShadowChannel, board: MetricsBoard) -> None:
    sender = sender_to(channel, board)
    bag = Bag(np.array([2, 7], np.int32), np.array([0.5, 1.0], np.float32))
    arrays = RankResult(b"", RankedLabels(np.array([4]), ["d é"], np.array([0.5], np.float32)), None)
    sender.add([RankRequest("größe", 5, 0.25, False), RankRequest(bag, 1, 0.0, False)], [RESULT, arrays])
    first, second = await receive(channel, 2)
    assert first == Answered("größe", 5, 0.25, ['a "b"', "c"])
    assert isinstance(second.query, Bag)
    assert (second.query.ids.tolist(), second.query.weights.tolist()) == ([2, 7], [0.5, 1.0])
    assert (second.query.ids.dtype, second.query.weights.dtype) == (np.int32, np.float32)
    assert second[1:] == (1, 0.0, ["d é"])


async def test_many_answers_arrive_in_order_and_none_is_lost(channel: ShadowChannel, board: MetricsBoard) -> None:
    sender = sender_to(channel, board)
    for number in range(1000):
        sender.add([RankRequest(str(number), 5, 0.0, False)], [RESULT])
    assert [one.query for one in await receive(channel, 1000)] == [str(number) for number in range(1000)]


async def test_its_own_answers_and_those_to_a_filter_are_not_sent(
    channel: ShadowChannel, board: MetricsBoard, series: Series
) -> None:
    sender = sender_to(channel, board)
    asked = RankRequest("a", 5, 0.0, False)
    sender.add([asked._replace(model=1), asked._replace(selection=Selection((), ())), asked], [RESULT] * 3)
    assert await receive(channel, 1) == [Answered("a", 5, 0.0, ['a "b"', "c"])]
    assert channel.receive(0.05) == []
    assert series(not_compared("filtered")) == 1


async def test_what_nobody_takes_is_dropped_and_counted_and_what_waits_is_sent_later(
    channel: ShadowChannel, board: MetricsBoard, series: Series
) -> None:
    sender = sender_to(channel, board)
    sent, query = 0, "x" * 200
    while not series(not_compared("queue_full")):
        sender.add([RankRequest(query, 5, 0.0, False)] * 500, [RESULT] * 500)
        sent += 500
        await asyncio.sleep(0.02)
    dropped = series(not_compared("queue_full"))
    assert sent - dropped >= MAX_WAITING
    assert len(await receive(channel, sent - int(dropped))) == sent - dropped
    assert series(not_compared("queue_full")) == dropped


async def test_an_answer_that_no_datagram_holds_is_dropped_and_counted(
    channel: ShadowChannel, board: MetricsBoard, series: Series
) -> None:
    sender = sender_to(channel, board)
    sender.add([RankRequest("x" * 10_000_000, 5, 0.0, False)], [RESULT])
    sender.add([RankRequest("a", 5, 0.0, False)], [RESULT])
    assert [one.query for one in await receive(channel, 1)] == ["a"]
    assert series(not_compared("too_large")) == 1


async def test_a_sender_that_has_stopped_sends_nothing(channel: ShadowChannel, board: MetricsBoard) -> None:
    sender = sender_to(channel, board)
    sender.add([RankRequest("a", 5, 0.0, False)], [RESULT])
    sender.stop()
    await asyncio.sleep(0.05)
    assert channel.receive(0) == []
