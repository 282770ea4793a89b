"""The stream of inference requests: an answer for each request, in order, while more are sent.

The requests of a stream are computed together. While the client does not read its answers, nothing more is read from
it, so that a stream takes the memory of a few requests, however long it is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc.aio import EOF

from astec.server.rpc.inference_service import SERVICE, InferenceService
from astec.server.rpc.messages import read_message, to_bytes
from astec.server.rpc.open_calls import Call, OpenCalls
from astec.server.rpc.proto.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from astec.server.rpc.statuses import CallError

Answers = asyncio.Queue["asyncio.Task[bytes] | None"]

MAX_OPEN_REQUESTS = 64
"""The most requests of a stream that are computed at a time; more would only wait in the queue before other clients."""


class InferenceStream:
    """The call `ModelStreamInfer`.

    Args:
        service: Answers each request.
        open_calls: The calls of this worker.
    """

    def __init__(self, service: InferenceService, open_calls: OpenCalls) -> None:
        self._service = service
        self._closing = open_calls.closing

    def handlers(self, open_calls: OpenCalls) -> dict[str, grpc.RpcMethodHandler]:
        """Return what answers the call, by the name of its method."""
        answer = open_calls.answering(SERVICE, "ModelStreamInfer", self.answer)
        return {"ModelStreamInfer": grpc.stream_stream_rpc_method_handler(answer)}

    async def answer(self, requests: object, call: Call) -> None:
        """Answer the requests of a stream until its client ends it, or the server stops.

        Raises:
            UnauthorizedError: The stream has no key that the server knows.
            CallError: The server stops; all requests that were read are answered.
        """
        self._service.client_of(call)
        answers: Answers = asyncio.Queue()
        room = asyncio.Semaphore(MAX_OPEN_REQUESTS)
        reading = asyncio.create_task(self._read(call, answers, room))
        try:
            while (answer := await answers.get()) is not None:
                await call.context.write(await answer)
                room.release()
            await reading
        finally:
            reading.cancel()
            while not answers.empty():
                if (unwanted := answers.get_nowait()) is not None:
                    unwanted.cancel()
        if self._closing.is_set():
            raise CallError(grpc.StatusCode.UNAVAILABLE, "The server is shutting down. Open another stream.")

    async def _read(self, call: Call, answers: Answers, room: asyncio.Semaphore) -> None:
        """Read requests and begin to answer them, until there are no more or the server stops; then put None."""
        line = 0
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while (content := await _next_message(call, closing)) is not EOF:
                line += 1
                await room.acquire()
                answers.put_nowait(asyncio.create_task(self._answer_one(content, call, line)))
        finally:
            closing.cancel()
            answers.put_nowait(None)

    async def _answer_one(self, content: bytes, call: Call, line: int) -> bytes:
        """Return the answer to one request, or an error with the id of the request."""
        request_id = ""
        try:
            client = self._service.client_of(call)  # The key may have been withdrawn since the stream began.
            message = read_message(ModelInferRequest, content)
            request_id = message.id
            response = await self._service.infer(message, client, call, line)
        except Exception as error:
            if call.span is not None:
                call.span.failed_lines += 1
            response = ModelInferResponse(id=request_id)
            failed = ModelStreamInferResponse(error_message=call.status_of(error).message, infer_response=response)
            return to_bytes(failed)
        return to_bytes(ModelStreamInferResponse(infer_response=response))


async def _next_message(call: Call, closing: asyncio.Future[Any]) -> Any:  # noqa: ANN401  (the message, or EOF)
    """Return the next message of a stream; EOF: there is none, or the server stops."""
    reading = asyncio.ensure_future(call.context.read())
    try:
        await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        reading.cancel()
        raise
    if reading.done():
        return reading.result()
    reading.cancel()
    return EOF
