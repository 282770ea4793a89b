"""The private parts of uvicorn that the server relies on exist and are as expected, with a test case for each part."""

import ast
import asyncio
import inspect
import logging
import re
from collections import deque
from pathlib import Path
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from astec.server.http import draining_server, protocol, uvicorn_adapter

SERVER = Path(uvicorn_adapter.__file__).parents[1]
OWNERS = {
    owner.__name__: owner
    for owner in (HttpToolsProtocol, RequestResponseCycle, FlowControl, uvicorn.Server, ServerState, uvicorn.Config)
}

# As `inspect.signature` writes them, without quotes; "async" before those of coroutine functions.
SIGNATURES = {
    "HttpToolsProtocol.__init__": "(self, config: Config, server_state: ServerState, app_state: dict[str, Any], "
    "_loop: asyncio.AbstractEventLoop | None = None) -> None",
    "HttpToolsProtocol._unset_keepalive_if_required": "(self) -> None",
    "HttpToolsProtocol.connection_lost": "(self, exc: Exception | None) -> None",
    "HttpToolsProtocol.connection_made": "(self, transport: asyncio.Transport) -> None",
    "HttpToolsProtocol.data_received": "(self, data: bytes) -> None",
    "HttpToolsProtocol.on_body": "(self, body: bytes) -> None",
    "HttpToolsProtocol.on_headers_complete": "(self) -> None",
    "HttpToolsProtocol.on_message_begin": "(self) -> None",
    "HttpToolsProtocol.on_message_complete": "(self) -> None",
    "HttpToolsProtocol.on_response_complete": "(self) -> None",
    "HttpToolsProtocol.resume_writing": "(self) -> None",
    "HttpToolsProtocol.send_400_response": "(self, msg: str) -> None",
    "HttpToolsProtocol.timeout_keep_alive_handler": "(self) -> None",
    "RequestResponseCycle.receive": "async (self) -> ASGIReceiveEvent",
    "FlowControl.pause_reading": "(self) -> None",
    "FlowControl.resume_reading": "(self) -> None",
    "Server.__init__": "(self, config: Config) -> None",
    "Server.main_loop": "async (self) -> None",
    "Server.on_tick": "async (self, counter: int) -> bool",
    "Server.run": "(self, sockets: list[socket.socket] | None = None) -> None",
    "Server.startup": "async (self, sockets: list[socket.socket] | None = None) -> None",
}

ATTRIBUTES: dict[str, type | None] = {
    "HttpToolsProtocol.access_log": bool,
    "HttpToolsProtocol.app_state": dict,
    "HttpToolsProtocol.cycle": RequestResponseCycle,
    "HttpToolsProtocol.expect_100_continue": bool,
    "HttpToolsProtocol.flow": FlowControl,
    "HttpToolsProtocol.headers": list,
    "HttpToolsProtocol.loop": asyncio.AbstractEventLoop,
    "HttpToolsProtocol.parser": httptools.HttpRequestParser,
    "HttpToolsProtocol.pipeline": deque,
    "HttpToolsProtocol.scope": dict,
    "HttpToolsProtocol.server_state": ServerState,
    "HttpToolsProtocol.timeout_keep_alive": int,
    "HttpToolsProtocol.timeout_keep_alive_task": None,
    "HttpToolsProtocol.transport": asyncio.Transport,
    "HttpToolsProtocol.url": bytes,
    "RequestResponseCycle.disconnected": bool,
    "RequestResponseCycle.keep_alive": bool,
    "RequestResponseCycle.message_event": asyncio.Event,
    "RequestResponseCycle.more_body": bool,
    "RequestResponseCycle.response_complete": bool,
    "RequestResponseCycle.response_started": bool,
    "RequestResponseCycle.scope": dict,
    "RequestResponseCycle.waiting_for_100_continue": bool,
    "FlowControl.read_paused": bool,
    "FlowControl.write_paused": bool,
    "Server.config": uvicorn.Config,
    "Server.force_exit": bool,
    "Server.lifespan": object,
    "Server.server_state": ServerState,
    "Server.servers": list,
    "Server.should_exit": bool,
    "ServerState.connections": set,
    "ServerState.default_headers": list,
    "ServerState.tasks": set,
    "ServerState.total_requests": int,
    "Config.backlog": int,
    "Config.callback_notify": None,
    "Config.encoded_headers": list,
    "Config.http_protocol_class": type,
}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing: no test here waits for an answer."""


def problem(name: str, found: str) -> str:
    return (
        f"uvicorn {uvicorn.__version__}: {name} {found}. server/http/uvicorn_adapter.py relies on it. Find out what "
        "replaces it, change the adapter and this test, then raise the cap on uvicorn's version in pyproject.toml."
    )


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def is_closing(self) -> bool:
        return False


@pytest.fixture
async def objects() -> dict[str, object]:
    """An object of each class, after a request has been received."""
    config = uvicorn.Config(application, http=HttpToolsProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[])
    connection = HttpToolsProtocol(config, server.server_state, server.lifespan.state)
    connection.connection_made(Transport())
    connection.data_received(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n")
    logging.getLogger("uvicorn.error").disabled = True  # The application answers nothing.
    await asyncio.sleep(0)
    logging.getLogger("uvicorn.error").disabled = False
    return {
        "HttpToolsProtocol": connection,
        "RequestResponseCycle": connection.cycle,
        "FlowControl": connection.flow,
        "Server": server,
        "ServerState": server.server_state,
        "Config": config,
    }


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_method_has_the_signature_that_the_server_relies_on(name: str) -> None:
    owner, _, method_name = name.partition(".")
    method = getattr(OWNERS[owner], method_name, None)
    assert method is not None, problem(name, "is gone")
    signature = "async " * inspect.iscoroutinefunction(method) + str(inspect.signature(method)).replace("'", "")
    assert signature == SIGNATURES[name], problem(name, f"has the signature {signature}")


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_an_attribute_is_of_the_type_that_the_server_relies_on(name: str, objects: dict[str, object]) -> None:
    owner, _, attribute = name.partition(".")
    assert hasattr(objects[owner], attribute), problem(name, "is gone")
    value, expected = getattr(objects[owner], attribute), ATTRIBUTES[name]
    fits = value is None if expected is None else isinstance(value, expected)
    assert fits, problem(name, f"is of the type {type(value).__name__}")


@pytest.mark.parametrize("status", [200, 408, 429, 431, 503])
def test_status_lines_are_bytes_by_status(status: int) -> None:
    line = STATUS_LINE.get(status, b"")
    assert re.fullmatch(rb"HTTP/1\.1 %d [A-Za-z ]+\r\n" % status, line), problem(
        f"STATUS_LINE[{status}]", f"is {line!r}"
    )


async def test_a_tick_puts_the_configured_headers_into_every_response(objects: dict[str, Any]) -> None:
    objects["Config"].encoded_headers.append(uvicorn_adapter.CONNECTION_CLOSE)
    await objects["Server"].on_tick(0)
    headers = objects["ServerState"].default_headers
    assert uvicorn_adapter.CONNECTION_CLOSE in headers, problem("Server.on_tick", f"leaves the headers {headers}")


async def test_a_tick_calls_the_callback_of_the_configuration(objects: dict[str, Any]) -> None:
    calls = []

    async def note() -> None:
        calls.append(1)

    objects["Config"].callback_notify = note
    await objects["Server"].on_tick(0)
    assert calls == [1], problem("Config.callback_notify", "is not called by Server.on_tick")


async def test_the_access_log_has_path_and_query_string_as_third_argument(
    objects: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    connection, cycle = objects["HttpToolsProtocol"], objects["RequestResponseCycle"]
    connection.scope["query_string"] = b"a=b"
    cycle.access_log, cycle.response_started = True, False
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    (record,) = [record for record in caplog.records if record.name == "uvicorn.access"]
    assert isinstance(record.args, tuple), problem("the access log", f"has the arguments {record.args}")
    assert record.args[1:] == ("POST", "/?a=b", "1.1", 200), problem("the access log", f"has {record.args}")


async def test_a_connection_has_no_request_before_the_first_and_says_so() -> None:
    config = uvicorn.Config(application, http=HttpToolsProtocol, lifespan="off", log_config=None)
    cycle = HttpToolsProtocol(config, ServerState(), {}).cycle
    assert cycle is None, problem("HttpToolsProtocol.cycle", f"is {cycle} before the first request")


def private_names(module: Any) -> set[str]:
    """The attributes of uvicorn's classes that a module uses, on `self` and on what uvicorn stores there."""
    classes = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ClassDef)]
    own = {name for cls in vars(module).values() if isinstance(cls, type) for name in own_names(cls)}
    used = set()
    for node in (node for cls in classes for node in ast.walk(cls)):
        if isinstance(node, ast.Attribute):
            base = ast.unparse(node.value)
            if base in ("self", "super()", "self.cycle", "self.flow", "self.server_state", "self.config"):
                used.add(node.attr)
    return {name for name in used if name not in own}


def own_names(cls: type) -> set[str]:
    """The methods that our classes add, and the private attributes that they assign."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("astec.")]
    methods = {name for base in ours for name in vars(base)}
    assigned = {name for base in ours for name in re.findall(r"self\.(\w+)[^=\n]* = ", inspect.getsource(base))}
    theirs = {name.partition(".")[2] for name in [*SIGNATURES, *ATTRIBUTES]}
    return (methods | assigned) - theirs


@pytest.mark.parametrize("module", [uvicorn_adapter, protocol, draining_server])
def test_every_part_of_uvicorn_that_is_used_has_a_case_and_is_named_by_the_adapter(module: Any) -> None:
    tested = {name.partition(".")[2] for name in [*SIGNATURES, *ATTRIBUTES]}
    named = set(re.findall(r"`(?:\w+\.)?(\w+)`", uvicorn_adapter.__doc__))
    for name in sorted(private_names(module)):
        assert name in tested, f"{module.__name__} uses {name} of uvicorn; add it to the tables of this test"
        assert name in named or name == "__init__", f"the docstring of uvicorn_adapter does not name {name}"
