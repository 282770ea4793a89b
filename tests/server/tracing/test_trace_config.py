"""Flags of tracing that cannot be used end the server before it starts, with one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from astec.server.settings import Settings
from astec.server.tracing.trace_config import TraceConfig, TracingError, read_trace_config


def config(endpoint: str | None, **knobs: Any) -> TraceConfig | None:
    return read_trace_config(Settings(artifact=Path("a"), otlp_endpoint=endpoint, **knobs))


def test_without_the_flag_there_are_no_traces() -> None:
    assert config(None) is None


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://[::1]:4318/v1/traces", "https://[::1]:4318/v1/traces"),
        ("https://otlp.example.com/api/v0.2/traces", "https://otlp.example.com/api/v0.2/traces"),
    ],
)
def test_the_path_is_the_usual_one_unless_the_url_has_another(given: str, used: str) -> None:
    assert config(given, otlp_sample=0.25, root_path="/ml") == TraceConfig(endpoint=used, share=0.25, root_path="/ml")


@pytest.mark.parametrize(
    "endpoint",
    ["localhost:4318", "collector", "grpc://localhost:4317", "http://", "http://:4318", "http://a:99999", "http://a:x",
     "http://a/#part", " http://a", ""],
)  # fmt: skip
def test_what_is_no_url_is_refused_and_named(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="is not a URL of http or https, as in http://localhost:4318") as error:
        config(endpoint)
    assert repr(endpoint) in str(error.value.errors()[0]["msg"])


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError, match="put keys into OTEL_EXPORTER_OTLP_HEADERS instead") as error:
        config("http://me:secret@localhost:4318")
    assert "secret" not in error.value.errors()[0]["msg"]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_nothing_and_everything(share: float) -> None:
    with pytest.raises(ValidationError, match="otlp_sample"):
        config("http://localhost", otlp_sample=share)


def test_a_variable_that_the_exporter_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody")
    with pytest.raises(TracingError, match=r"'nobody' not found.*Check the variables OTEL_"):
        config("http://localhost:4318")


WITHOUT_OPENTELEMETRY = """
import sys
from importlib.abc import MetaPathFinder


class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):  # FastAPI itself needs the API.
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
from astec.server.__main__ import main

main()
"""


@pytest.mark.e2e
def test_without_its_packages_the_flag_is_refused_with_how_to_install_them(demo_artifact: Path) -> None:
    flags = ["--port", "0", "--otlp-endpoint", "http://localhost:4318", "--log-level", "error"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENTELEMETRY, str(demo_artifact), *flags],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("astec-serve: --otlp-endpoint needs packages of OpenTelemetry")
    assert "pip install 'astec[otel]'" in done.stderr
