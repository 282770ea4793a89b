"""The ways to ask a server the same queries: each keeps as many requests under way as there are connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from itertools import cycle
from time import perf_counter
from typing import Any, NamedTuple

import grpc.aio
import orjson

from astec.loadtest.generator.client import Client
from astec.loadtest.generator.connection import OK, Answer
from astec.server.rpc.proto.open_inference_pb2 import ModelInferRequest

_SERVICE = "/inference.GRPCInferenceService"
_PATIENCE_S = 30.0
# Else all channels of this process would share one connection.
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class WayError(Exception):
    """A request that was not answered."""


class Target(NamedTuple):
    """A server to ask.

    Attributes:
        url: Its URL for HTTP.
        grpc_address: Its address for gRPC.
        model: The name of its model.
    """

    url: str
    grpc_address: str
    model: str


Ask = Callable[[Target, Sequence[str], int, float], Coroutine[Any, Any, int]]
"""Asks the queries of a list in turn, over some connections for some seconds; returns the number of answers.

Raises WayError if a request is not answered.
"""


async def ask_predict(target: Target, queries: Sequence[str], connections: int, seconds: float) -> int:
    """Ask `POST /predict`."""
    bodies = [orjson.dumps({"query": query}) for query in queries]
    return await _post(f"{target.url}/predict", bodies, connections, seconds)


async def ask_open_inference(target: Target, queries: Sequence[str], connections: int, seconds: float) -> int:
    """Ask the Open Inference Protocol over HTTP, in JSON."""
    bodies = [
        orjson.dumps({"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1], "data": [query]}]})
        for query in queries
    ]
    return await _post(f"{target.url}/v2/models/{target.model}/infer", bodies, connections, seconds)


async def ask_grpc(target: Target, queries: Sequence[str], connections: int, seconds: float) -> int:
    """Ask `ModelInfer`, with one call at a time on each connection."""

    async def ask(channel: grpc.aio.Channel, messages: Iterator[bytes], end_s: float) -> int:
        call, answers = channel.unary_unary(f"{_SERVICE}/ModelInfer"), 0
        while perf_counter() < end_s:
            await call(next(messages), timeout=_PATIENCE_S)
            answers += 1
        return answers

    return await _call(ask, target, queries, connections, seconds)


async def ask_grpc_stream(target: Target, queries: Sequence[str], connections: int, seconds: float) -> int:
    """Ask `ModelStreamInfer`, with one stream on each connection and one request at a time in it."""

    async def ask(channel: grpc.aio.Channel, messages: Iterator[bytes], end_s: float) -> int:
        stream, answers = channel.stream_stream(f"{_SERVICE}/ModelStreamInfer")(timeout=seconds + _PATIENCE_S), 0
        while perf_counter() < end_s:
            await stream.write(next(messages))
            if await stream.read() is grpc.aio.EOF:
                raise WayError("the server has ended a stream")
            answers += 1
        await stream.done_writing()
        return answers

    return await _call(ask, target, queries, connections, seconds)


WAYS: dict[str, Ask] = {
    "HTTP, `/predict`": ask_predict,
    "HTTP, `/v2/models/NAME/infer`, JSON": ask_open_inference,
    "gRPC, `ModelInfer`": ask_grpc,
    "gRPC, `ModelStreamInfer`": ask_grpc_stream,
}
"""Every way by its name; the others are compared with the first."""


def to_message(model: str, query: str) -> bytes:
    """Return the message that asks for one query, as bytes, which is how tritonclient asks."""
    text = query.encode()
    message = ModelInferRequest(model_name=model, raw_input_contents=[len(text).to_bytes(4, "little") + text])
    message.inputs.add(name="query", datatype="BYTES", shape=[1])
    content: bytes = message.SerializeToString()
    return content


async def _post(endpoint: str, bodies: Sequence[bytes], connections: int, seconds: float) -> int:
    client = Client(endpoint, _PATIENCE_S, connections)
    upcoming, answers, failed = cycle(bodies), 0, ""
    running, ended = connections, asyncio.Event()
    end_s = perf_counter() + seconds

    def on_answer(answer: Answer) -> None:
        nonlocal answers, running, failed
        if answer.kind != OK:
            failed = f"{endpoint} answered {answer.kind}: {answer.detail[:200]!r}"
        answers += 1
        if not failed and perf_counter() < end_s:
            client.post(next(upcoming), on_answer)
            return
        running -= 1
        if not running:
            ended.set()

    for _ in range(connections):
        client.post(next(upcoming), on_answer)
    await ended.wait()
    await client.close()
    if failed:
        raise WayError(failed)
    return answers


async def _call(
    ask: Callable[[grpc.aio.Channel, Iterator[bytes], float], Awaitable[int]],
    target: Target,
    queries: Sequence[str],
    connections: int,
    seconds: float,
) -> int:
    messages = cycle([to_message(target.model, query) for query in queries])
    channels = [grpc.aio.insecure_channel(target.grpc_address, _OWN_CONNECTION) for _ in range(connections)]
    end_s = perf_counter() + seconds
    try:
        return sum(await asyncio.gather(*(ask(channel, messages, end_s) for channel in channels)))
    except grpc.aio.AioRpcError as error:
        raise WayError(f"gRPC answered {error.code().name}: {error.details()}") from error
    finally:
        for channel in channels:
            await channel.close()
