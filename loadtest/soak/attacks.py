"""Bad requests, as broken and hostile clients send them, and the responses that the server may give."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import perf_counter

from astec.loadtest.soak.tally import Tally

NO_ANSWER = 0
_TIMEOUT_S = 30.0
_OVERSIZED_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class Attack:
    """A bad request, sent on a connection of its own.

    Attributes:
        name: its name in the report.
        sent: the bytes to send.
        answers: the statuses that the server may answer; `NO_ANSWER` where it may also close the connection.
        patience_s: seconds after which the client closes the connection; None waits for the response.
    """

    name: str
    sent: bytes
    answers: tuple[int, ...]
    patience_s: float | None = None


def post(body: bytes, *, announced: int | None = None) -> bytes:
    """Return the bytes of a request to predict; `announced` is the length that its head claims, where it is wrong."""
    length = len(body) if announced is None else announced
    head = f"POST /predict HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + body


def attacks(question: bytes, seed: int) -> list[Attack]:
    """Return one attack of each kind; `question` is the body of a good request."""
    noise = random.Random(seed).randbytes(512)
    get = "GET %s HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n"
    return [
        Attack("garbage body", post(noise), (400,)),
        Attack("not UTF-8", post(b'{"query": "\xff\xfe"}'), (400,)),
        Attack("deep nesting", post(b"[" * 100_000), (400, 422)),
        Attack("not HTTP", noise + b"\r\n\r\n", (400, NO_ANSWER)),
        Attack("invalid field", post(b'{"query": "a", "top_k": 0}'), (422,)),
        Attack("oversized body", post(question, announced=_OVERSIZED_BYTES), (413,)),
        Attack("unknown path", (get % "/nothing/here").encode(), (404,)),
        Attack("wrong method", (get % "/predict").encode(), (405,)),
        Attack("half a head", post(question)[:30], (400, 408, NO_ANSWER), patience_s=1.0),
        Attack("half a body", post(question, announced=2 * len(question)), (400, 408, NO_ANSWER), patience_s=1.0),
        Attack("hang-up", post(question), (200, 429, 503, 504, NO_ANSWER), patience_s=0.0),
    ]


async def attack_always(host: str, port: int, kinds: list[Attack], tally: Tally, pause_s: float, seed: int) -> None:
    """Send attacks in random order until cancelled, with a pause of `pause_s` on average."""
    generator = random.Random(seed)
    while True:
        attack = generator.choice(kinds)
        sent_s = perf_counter()
        status = await try_attack(host, port, attack)
        # Under load the server may refuse any request with 503, and a killed worker closes its connections.
        if status in attack.answers or status == 503 or (status == NO_ANSWER and tally.ended_by_kill(sent_s)):
            tally.hostile[attack.name] += 1
        else:
            tally.misanswered[f"{attack.name}: {status or 'no answer'}"] += 1
        await asyncio.sleep(generator.uniform(0, 2 * pause_s))


async def try_attack(host: str, port: int, attack: Attack) -> int:
    """Send an attack and return the status of the response, or `NO_ANSWER`."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return NO_ANSWER
    try:
        writer.write(attack.sent)
        patience_s = _TIMEOUT_S if attack.patience_s is None else attack.patience_s
        line = await asyncio.wait_for(reader.readline(), patience_s)
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else NO_ANSWER
    except (OSError, TimeoutError):
        return NO_ANSWER
    finally:
        writer.transport.abort()
