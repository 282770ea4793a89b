"""`astec-serve`: serves an artifact over HTTP."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from export.artifact.store import ArtifactError, open_artifact
from server.logs import log_config
from server.settings import ENV_PREFIX, METRICS_DIRECTORY_VARIABLE, Settings

FACTORY = "server.app:create_app_from_environment"

cli = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class UsageError(Exception):
    """The server cannot start as asked; the message says why and what to do."""


class Server(uvicorn.Server):
    """One process; says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        _announce(self._url)


class Supervisor(Multiprocess):
    """Several processes; says where they listen once all do, and forgets the gauges of those that died."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], url: str) -> None:
        super().__init__(config, sockets)
        self._url = url
        self._announced = False

    def keep_subprocess_alive(self) -> None:
        """Replace dead workers; runs twice a second."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        self._forget(before - {process.pid for process in self.processes})
        if not self._announced and all(process.is_ready() for process in self.processes):
            self._announced = True
            _announce(self._url)

    @staticmethod
    def _forget(pids: set[int | None]) -> None:
        # Imported late: the environment must be set first.
        from prometheus_client.multiprocess import mark_process_dead

        for pid in pids:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def serve(**given: str | int | bool | Path | None) -> None:
    """Serve ARTIFACT over HTTP until interrupted.

    Every flag can also be set in the environment: ASTEC_QUEUE_CAPACITY for --queue-capacity. A flag wins.
    """
    try:
        settings = _settings(given)
        _verify(settings.artifact)
        listener = _listen(settings)
    except UsageError as error:
        typer.echo(f"astec-serve: {error}", err=True)
        raise typer.Exit(2) from None
    # uvicorn re-raises the signal that it stopped for; to be asked to stop is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_cleanly)
    os.environ.update(settings.environment())
    _run(settings, listener)


def _run(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        FACTORY,
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        log_config=log_config(settings),
        access_log=settings.access_log,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
        server_header=False,
    )
    if settings.workers == 1:
        os.environ.pop(METRICS_DIRECTORY_VARIABLE, None)
        Server(config, url).run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="astec-metrics-") as directory:
        os.environ[METRICS_DIRECTORY_VARIABLE] = directory
        supervisor = Supervisor(config, [listener], url)
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise typer.Exit(STARTUP_FAILURE)


def _settings(given: dict[str, str | int | bool | Path | None]) -> Settings:
    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise UsageError("; ".join(_setting_problem(item["loc"], item["msg"]) for item in error.errors())) from None


def _setting_problem(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0])
    if name == "artifact":
        return f"no artifact: give its directory as argument, or set {ENV_PREFIX}ARTIFACT"
    return f"--{name.replace('_', '-')} (or {ENV_PREFIX}{name.upper()}): {message}"


def _verify(path: Path) -> None:
    """Refuses a broken artifact before a port is bound or a process started."""
    try:
        open_artifact(path)
    except ArtifactError as error:
        raise UsageError(str(error)) from error


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}. "
            "Stop what listens there, or choose another --port or --host."
        ) from error
    listener.set_inheritable(True)
    return listener


def _announce(url: str) -> None:
    typer.echo(f"Serving on {url} (try it there, API documentation at {url}/docs)")


def _exit_cleanly(*_: object) -> NoReturn:
    sys.exit(0)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Return the command-line parameter of a setting; None, its default, leaves it to the environment."""
    if name == "artifact":
        info: Any = typer.Argument(help=field.description, metavar="ARTIFACT", show_default=False)
    else:
        default = "" if field.default is None else f" [default: {field.default}]"
        info = typer.Option(help=f"{field.description}{default}", show_default=False)
    annotation = Annotated[field.annotation | None, info]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _with_flags_of(settings: type[Settings]) -> Callable[..., None]:
    """Return `serve` with a signature that has a flag per setting, so that no help text exists twice."""
    parameters = [_parameter(name, field) for name, field in settings.model_fields.items()]
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return serve


cli.command(context_settings={"help_option_names": ["-h", "--help"]})(_with_flags_of(Settings))


def main() -> None:
    """Run the command."""
    cli()


if __name__ == "__main__":
    main()
