"""Good requests, from users who each send one, check the answer, and pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from time import perf_counter

from astec.loadtest.generator.client import Client
from astec.loadtest.generator.connection import CONNECTION, OK, Answer
from astec.loadtest.soak.questions import Question
from astec.loadtest.soak.tally import Tally

# Full queue, draining, deadline passed: the documented statuses with which the server refuses a good request.
_REFUSALS = ("status_429", "status_503", "status_504")


async def ask_always(client: Client, questions: Sequence[Question], tally: Tally, pause_s: float, seed: int) -> None:
    """Send random questions until cancelled, with a pause of `pause_s` on average after each answer."""
    generator = random.Random(seed)
    while True:
        question = generator.choice(questions)
        sent_s = perf_counter()
        note_answer(tally, question, await client.ask(question.body), sent_s)
        await asyncio.sleep(generator.uniform(0, 2 * pause_s))


def note_answer(tally: Tally, question: Question, answer: Answer, sent_s: float) -> None:
    """Count the outcome of a question that was sent at `sent_s` and has just ended."""
    if answer.kind == OK:
        right = answer.detail == question.answer
        tally.right += right
        tally.wrong += not right
    elif answer.kind in _REFUSALS:
        tally.refused[answer.kind] += 1
    elif answer.kind == CONNECTION and tally.ended_by_kill(sent_s):
        tally.cut += 1
    else:
        tally.lost[answer.kind] += 1
