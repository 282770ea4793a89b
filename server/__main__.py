"""`astec-serve`: the command that serves an artifact over HTTP."""

from __future__ import annotations

import inspect
import logging.config
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from astec.server.settings import ARTIFACT_AND_UPSTREAMS, ENV_PREFIX, NO_ARTIFACT, Settings
from astec.server.system.library_threads import forbid_library_threads

# Modules that load numpy or onnxruntime are imported by the functions below: `forbid_library_threads` has to be called
# before, and --help or an error in the flags should not have to wait for them.
if TYPE_CHECKING:
    from astec.server.access.access_control import AccessControl
    from astec.server.answer_log.log_config import LogConfig
    from astec.server.engine.labels.block_list import BlockList
    from astec.server.engine.models.model_releases import ReleasesOfAll
    from astec.server.engine.shadow.shadow import Shadow
    from astec.server.http.serve import Listeners, ServerTimeouts
    from astec.server.metrics.board import Metrics
    from astec.server.tracing.trace_config import TraceConfig
    from astec.server.tracing.tracer import Tracer

Given = str | int | float | bool | Path | list[str] | None

cli = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class UsageError(Exception):
    """The server cannot start with these settings; the message says why and what to do."""


def serve(**given: Given) -> None:
    """Serve ARTIFACT over HTTP until interrupted, or several, each as NAME=ARTIFACT, or shards (--upstream).

    Every flag can also be set in the environment: ASTEC_QUEUE_CAPACITY for --queue-capacity. A flag wins.
    """
    forbid_library_threads()
    try:
        settings = _settings(given)
        from astec.server.metrics.logs import log_config

        logging.config.dictConfig(log_config(settings))
        _require_no_model_flags(settings)
        _require_grpc(settings)
        models = None if settings.upstream else _open(settings)
        settings, listeners = _listen(settings)
        try:
            exit_code = _serve_shards(settings, listeners) if models is None else _serve(settings, models, listeners)
        finally:
            if listeners.unix is not None:  # Also if the server does not start.
                listeners.unix.remove_file()
    except UsageError as error:
        typer.echo(f"astec-serve: {error}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(exit_code)


def _open(settings: Settings) -> ReleasesOfAll:
    """Open the artifacts, before a port is bound or a process started.

    Raises:
        UsageError: One is damaged, or not an artifact, or they cannot be served together.
    """
    from astec.export.artifact.verification import ArtifactError
    from astec.server.engine.models.model_releases import ModelReleases, ReleasesOfAll

    try:
        return ReleasesOfAll(
            [
                ModelReleases(artifact.path, settings.verify, settings.allow_links_under)
                for artifact in settings.artifact
            ]
        )
    except ArtifactError as error:
        raise UsageError(str(error)) from error


def _require_grpc(settings: Settings) -> None:
    """Load gRPC if there is a port for it, so that the workers share its memory.

    Raises:
        UsageError: Its packages are not installed.
    """
    if settings.grpc_port is None:
        return
    try:
        import astec.server.rpc.rpc_server  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--grpc-port needs a package that is not installed ({error}). Install it (pip install 'astec[grpc]'), or "
            "leave the flag out."
        ) from error


def _listen(settings: Settings) -> tuple[Settings, Listeners]:
    """Bind all sockets; return the settings, with the further ports that the system picked, and the sockets.

    Raises:
        UsageError: The server cannot listen on one of the addresses.
    """
    from astec.server.http.listeners import ListenError, open_listeners
    from astec.server.http.serve import Listeners
    from astec.server.http.unix_listener import UnixListener

    try:
        own = open_listeners(settings.host, settings.port, settings.workers) if settings.listens_on_tcp else []
        admin = [] if settings.admin_port is None else open_listeners(settings.host, settings.admin_port, 1)
        grpc_port = settings.grpc_port
        reserved = [] if grpc_port is None else open_listeners(settings.host, grpc_port, 1, "--grpc-port")
        unix = None if settings.uds is None else UnixListener(settings.uds, int(settings.uds_mode, base=8))
    except ListenError as error:
        raise UsageError(str(error)) from error
    if admin:  # With port 0 the system has picked one.
        settings = settings.model_copy(update={"admin_port": admin[0].getsockname()[1]})
    if reserved:
        settings = settings.model_copy(update={"grpc_port": reserved[0].getsockname()[1]})
    return settings, Listeners(settings.workers, own, admin, unix, reserved)


def _serve(settings: Settings, models: ReleasesOfAll, listeners: Listeners) -> int:
    """Serve until interrupted; return the exit code.

    Raises:
        UsageError: A file of API keys or blocked labels is invalid, or the server cannot log answers or send spans.
    """
    from astec.server.answer_log.opening import open_answer_log
    from astec.server.app import AstecApi, Observers, create_app
    from astec.server.http.listeners import url_of
    from astec.server.http.serve import serve_http
    from astec.server.metrics.board import MetricsBoard
    from astec.server.workers.supervisor import EXIT_STARTUP_FAILED, SupervisorCallbacks
    from astec.server.workers.worker_slots import max_workers

    access_control, logged, traced = _read_files(settings)
    block_lists = _open_block_lists(settings, models)
    if not _predicts(models):
        return EXIT_STARTUP_FAILED
    names = settings.model_names
    shadow = _make_shadow(settings)
    num_processes = settings.workers + (shadow is not None)
    board = MetricsBoard(max_workers(num_processes), names if len(names) > 1 else ("",))
    reload = partial(os.kill, os.getpid(), signal.SIGHUP)

    def make_app(worker_id: int) -> AstecApi:
        _settle(models, block_lists)
        metrics = board.metrics(worker_id)
        answer_log = None if logged is None else open_answer_log(logged, models.current, names, metrics, worker_id)
        to_shadow = None if shadow is None else shadow.sender(metrics)
        tracer = None if traced is None else _open_tracer(traced, models, metrics)
        observers = Observers(answer_log, tracer, to_shadow)
        return create_app(settings, models.current, metrics, access_control, reload, block_lists or None, observers)

    def work_in_shadow(worker_id: int, heartbeat: Callable[[], bool]) -> None:
        _settle(models, block_lists)
        if shadow is not None:
            shadow.work(models.current, block_lists, board.metrics(worker_id), heartbeat)

    return serve_http(
        make_app,
        listeners,
        callbacks=SupervisorCallbacks(
            on_ready=partial(_announce, settings, [url_of(listener) for listener in listeners.per_worker[:1]]),
            on_worker_end=board.retire,
            on_rollout=board.count_rollout,
            on_stop=(lambda: None) if shadow is None else shadow.close,
            on_tick=partial(_watch, block_lists, models),
        ),
        on_drain=AstecApi.drain,
        releases=models,
        timeouts=_timeouts(settings),
        access_log=settings.access_log,
        work_beside=None if shadow is None else work_in_shadow,
    )


def _read_files(settings: Settings) -> tuple[AccessControl | None, LogConfig | None, TraceConfig | None]:
    """Return who may ask, what is logged and what is traced.

    Raises:
        UsageError: A file of keys is invalid, or what answers and spans are written to.
    """
    from astec.server.access.access_control import open_access_control
    from astec.server.access.api_keys import ApiKeysError
    from astec.server.answer_log.log_config import AnswerLogError, read_log_config
    from astec.server.tracing.trace_config import TracingError, read_trace_config

    try:
        return open_access_control(settings), read_log_config(settings), read_trace_config(settings)
    except (AnswerLogError, ApiKeysError, TracingError) as error:
        raise UsageError(str(error)) from error


def _open_tracer(traced: TraceConfig, models: ReleasesOfAll, metrics: Metrics) -> Tracer:
    """Return the tracer of a worker."""
    from astec.server.tracing.opening import open_tracer

    return open_tracer(traced, models.current, metrics)


def _require_no_model_flags(settings: Settings) -> None:
    """Raise UsageError for flags that a server with upstreams cannot heed, because its model is elsewhere."""
    if not settings.upstream:
        return
    given = {
        "--blocked-labels": settings.blocked_labels is not None,
        "--cache-entries": settings.cache_entries > 0,
        "--log-answers": settings.log_answers is not None,
        "--otlp-endpoint": settings.otlp_endpoint is not None,
        "--allow-links-under": settings.allow_links_under is not None,
    }
    for flag, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{flag} is for a server with an artifact, not one with --upstream; give it to the shards'"
            )
    try:
        import httpx  # noqa: F401  (with which the shards are asked)
    except ModuleNotFoundError:
        raise UsageError("--upstream needs the package httpx: pip install 'astec[client]'") from None


def _serve_shards(settings: Settings, listeners: Listeners) -> int:
    """Merge the answers of shards until interrupted; return the exit code.

    Raises:
        UsageError: The file of API keys is invalid.
    """
    from astec.server.access.access_control import open_access_control
    from astec.server.access.api_keys import ApiKeysError
    from astec.server.app import AstecApi, create_merging_app
    from astec.server.http.listeners import url_of
    from astec.server.http.serve import serve_http
    from astec.server.metrics.board import MetricsBoard
    from astec.server.workers.supervisor import SupervisorCallbacks
    from astec.server.workers.worker_slots import max_workers

    try:
        access_control = open_access_control(settings)
    except ApiKeysError as error:
        raise UsageError(str(error)) from error
    board = MetricsBoard(max_workers(settings.workers))
    urls = [url_of(listener) for listener in listeners.per_worker[:1]]

    def announce() -> None:
        _announce(settings, urls)
        typer.echo(f"Merging {len(settings.upstream)} shards; if one does not answer: {settings.on_missing}")

    return serve_http(
        lambda worker_id: create_merging_app(settings, board.metrics(worker_id), access_control),
        listeners,
        callbacks=SupervisorCallbacks(on_ready=announce, on_worker_end=board.retire, on_rollout=board.count_rollout),
        on_drain=AstecApi.drain,
        timeouts=_timeouts(settings),
        access_log=settings.access_log,
    )


def _make_shadow(settings: Settings) -> Shadow | None:
    from astec.server.engine.shadow.shadow import Shadow

    names = settings.model_names
    return Shadow(names.index(settings.shadow), settings.shadow) if settings.shadow else None


def _timeouts(settings: Settings) -> ServerTimeouts:
    from astec.server.http.serve import ServerTimeouts

    return ServerTimeouts(
        drain_s=settings.drain_timeout_s,
        shutdown_s=settings.shutdown_timeout_s,
        client_s=settings.client_timeout_s,
        keep_alive_s=settings.keep_alive_s,
    )


def _settle(models: ReleasesOfAll, block_lists: list[BlockList]) -> None:
    """Prepare a forked process for its one release."""
    models.settle()  # A worker never goes back to the previous release, so it must not keep that one mapped.
    for block_list, artifact in zip(block_lists, models.current, strict=False):
        block_list.for_worker(artifact)


def _predicts(models: ReleasesOfAll) -> bool:
    """Return whether each model makes a prediction; if not, print why."""
    from astec.server.engine.warmup import warm_predictor

    for artifact in models.current:
        try:
            # Compiled kernels take 50 MB. If they are compiled before the workers are forked, the workers share them.
            # The predictor is discarded here, so its onnxruntime session starts no thread; each worker makes its own.
            warm_predictor(artifact)
        except Exception as error:  # of any library
            typer.echo(f"astec-serve: the model in {artifact.path} does not predict: {error}", err=True)
            return False
    return True


def _open_block_lists(settings: Settings, models: ReleasesOfAll) -> list[BlockList]:
    """Read the file of blocked labels, for each model; an empty list: there is none.

    Raises:
        UsageError: It cannot be used.
    """
    from astec.server.engine.labels.block_list import BlockList, BlockListError

    if settings.blocked_labels is None:
        return []
    try:
        return [BlockList(settings.blocked_labels, artifact) for artifact in models.current]
    except BlockListError as error:
        raise UsageError(str(error)) from error


def _watch(block_lists: list[BlockList], models: ReleasesOfAll) -> None:
    """Look at the file in the parent, too: a new worker begins with the parent's lists."""
    for block_list, artifact in zip(block_lists, models.current, strict=False):
        block_list.for_model(artifact)
        block_list.refresh()


def _announce(settings: Settings, urls: list[str]) -> None:
    workers = f"{settings.workers} {'worker' if settings.workers == 1 else 'workers'}"
    socket_file = [] if settings.uds is None else [f"the Unix domain socket {settings.uds}"]
    hint = f" (try it there, API documentation at {urls[0]}/docs)" if urls else ""
    names = settings.model_names
    of_models = f", models: {', '.join(names)}" if len(names) > 1 else ""
    typer.echo(
        f"Serving on {' and '.join([*urls, *socket_file])} with {workers}, "
        f"inference threads each: {settings.threads_per_worker}{of_models}{hint}"
    )
    if settings.admin_port is not None:
        typer.echo(f"Metrics on port {settings.admin_port} alone")
    if settings.grpc_port is not None:
        typer.echo(f"gRPC on port {settings.grpc_port}")


def _settings(given: dict[str, Given]) -> Settings:
    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise UsageError("; ".join(_setting_problem(item["loc"], item["msg"]) for item in error.errors())) from None


def _setting_problem(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0])
    if name == "artifact" and message.endswith(NO_ARTIFACT):
        return f"no artifact: give its directory as argument, or set {ENV_PREFIX}ARTIFACT"
    if name == "artifact" and message.endswith(ARTIFACT_AND_UPSTREAMS):
        return "ARTIFACT and --upstream are both given; give the artifact to serve, or the servers of its shards"
    if name == "artifact":
        return f"ARTIFACT (or {ENV_PREFIX}ARTIFACT): {message}"
    return f"--{name.replace('_', '-')} (or {ENV_PREFIX}{name.upper()}): {message}"


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Return the command-line parameter of a setting. Its default is None: the setting is read from the environment."""
    if name == "artifact":
        info: Any = typer.Argument(help=field.description, metavar="ARTIFACT", show_default=False)
        annotation: Any = list[str]
    else:
        annotation = list[str] if name == "share" else field.annotation
        # The description says what a default is that depends on the machine, or is nothing.
        fixed = field.default not in (None, "") and field.default_factory is None
        info = typer.Option(help=f"{field.description}{f' [default: {field.default}]' * fixed}", show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, info]
    )


def _with_flags_of(settings: type[Settings]) -> Callable[..., None]:
    """Return `serve` with a signature that has one flag for each setting, so that no help text is written twice."""
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
