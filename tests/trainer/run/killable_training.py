"""Trainings for tests: each job on stdin is run in a process that is killed at a chosen call, or runs out of disk.

A job is a line of JSON: `arguments` of astec-train, `log` for its stderr, `kill` (function, what one of its arguments
contains, which such call) or null, and `file_bytes`, the size that no file may exceed, or null. Answered by two lines:
the process id at once, the wait status in the end. One process imports torch for all of them.
"""

import json
import os
import pkgutil
import resource
import signal
import sys
from collections.abc import Callable

import astec.trainer.pipeline.stages  # noqa: F401 - imported once, before the forks
from astec.trainer.__main__ import main


def kill_at(function: str, part: str, turn: int) -> None:
    owner_name, name = function.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner_name)
    original: Callable[..., object] = getattr(owner, name)
    calls = 0

    def call(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += any(part in str(argument) for argument in args)
        if calls == turn:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, call)


def train(job: dict) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests may ignore it
    if job["kill"] is not None:
        kill_at(*job["kill"])
    if job["file_bytes"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], job["file_bytes"]))
    sys.argv = ["astec-train", *job["arguments"]]
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    child = os.fork()
    if not child:
        train(json.loads(line))
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
