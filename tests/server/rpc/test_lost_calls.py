"""Calls that are lost while workers are replaced and stopped under load, by real signals."""

import asyncio
import queue
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import repeat
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.grpc.aio import InferenceServerClient as AsyncClient
from tritonclient.utils import InferenceServerException

from tests.server.rpc.grpc_process import PATIENCE_S, GrpcProcess, grpc_process, tensor

pytestmark = pytest.mark.e2e

CONNECTIONS, CALLS_EACH = 8, 4
FLAGS = ("--request-timeout-ms", 30_000, "--drain-s", 3)
OK, UNAVAILABLE = "OK", "StatusCode.UNAVAILABLE"


class Load:
    """Calls over several connections, a few at a time on each; the outcomes are counted."""

    def __init__(self, address: str) -> None:
        self.ended: Counter[str] = Counter()
        self.going_on = True
        # A pool of its own for each client, or all of them would share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._clients = [AsyncClient(address, channel_args=options) for _ in range(CONNECTIONS)]

    async def run(self) -> None:
        await asyncio.gather(*(self._ask(client) for client in self._clients for _ in range(CALLS_EACH)))
        for client in self._clients:
            await client.close()

    async def _ask(self, client: AsyncClient) -> None:
        inputs = [tensor("query", ["cheap running shoes"])]
        while self.going_on:
            try:
                answer = await client.infer("demo", inputs)
                assert answer.as_numpy("labels").shape == (1, 5)
                self.ended[OK] += 1
            except InferenceServerException as error:
                self.ended[error.status()] += 1
                await asyncio.sleep(0.01)

    async def more(self, status: str, count: int) -> None:
        """Return once so many more calls have ended in this way."""
        wanted = self.ended[status] + count
        async with asyncio.timeout(PATIENCE_S):
            while self.ended[status] < wanted:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def under_load(server: GrpcProcess) -> AsyncIterator[Load]:
    load = Load(server.address)
    running = asyncio.create_task(load.run())
    try:
        await load.more(OK, 300)
        yield load
    finally:
        load.going_on = False
        await running


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_stops_answers_every_call_that_it_took(
    demo_artifact: Path, tmp_path: Path, workers: int
) -> None:
    with grpc_process(demo_artifact, tmp_path, *FLAGS, "--workers", workers) as server:
        async with under_load(server) as load:
            server.process.send_signal(signal.SIGTERM)
            await load.more(UNAVAILABLE, 100)
        assert set(load.ended) == {OK, UNAVAILABLE}
        assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == 0
        assert "Traceback" not in server.log.read_text()


async def test_a_rolling_restart_loses_no_call(demo_artifact: Path, tmp_path: Path) -> None:
    with grpc_process(demo_artifact, tmp_path, *FLAGS, "--workers", 2) as server:
        async with under_load(server) as load:
            server.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(PATIENCE_S):
                while not await asyncio.to_thread(server.metric, 'astec_reloads_total{outcome="done"}'):
                    await asyncio.sleep(0.05)
            await load.more(OK, 300)
        assert set(load.ended) == {OK}
        # What the old workers counted is not forgotten.
        assert server.calls("ModelInfer", "OK") == load.ended[OK]


def test_a_stream_is_answered_and_then_ended_when_the_server_stops(demo_artifact: Path, tmp_path: Path) -> None:
    answers: queue.Queue = queue.Queue()
    flags = ("--workers", 1, "--drain-s", 1, "--batch-timeout-us", 500_000, "--request-timeout-ms", 30_000)
    with (
        grpc_process(demo_artifact, tmp_path, *flags) as server,
        InferenceServerClient(server.address) as client,
    ):
        client.start_stream(lambda result, error: answers.put((result, error)))
        ask = partial(client.async_stream_infer, "demo", [tensor("query", ["running shoes"])])
        ask(request_id="first")
        assert answers.get(timeout=PATIENCE_S)[1] is None
        with server.standing_still():
            for number in range(20):
                ask(request_id=str(number))
            server.process.send_signal(signal.SIGTERM)
        for number in range(20):
            result, error = answers.get(timeout=PATIENCE_S)
            assert (error, result.get_response().id) == (None, str(number))
        _, error = answers.get(timeout=PATIENCE_S)
        assert error.status() == UNAVAILABLE
        assert "The server is shutting down" in str(error)
        assert server.process.wait(PATIENCE_S) == 0


def test_a_client_that_takes_no_answers_does_not_hold_the_end_up(demo_artifact: Path, tmp_path: Path) -> None:
    request = service_pb2.ModelInferRequest(model_name="demo", id="x" * 500_000)  # It comes back.
    request.inputs.add(name="query", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"running shoes")
    flags = ("--workers", 1, "--drain-s", 1, "--shutdown-timeout-s", 2)
    with (
        grpc_process(demo_artifact, tmp_path, *flags) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        many = repeat(request.SerializeToString(), 100)
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(many)
        next(call)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in server.log.read_text()
        with pytest.raises(grpc.RpcError) as ended:
            list(call)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
