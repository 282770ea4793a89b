"""Where spans are sent to, and how many; checked before the server starts."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from astec.server.settings import Settings

DEFAULT_PATH = "/v1/traces"


class TracingError(Exception):
    """Spans cannot be sent as the settings say; the message gives the reason and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceConfig:
    """The configuration of tracing.

    Attributes:
        endpoint: The URL that batches of spans are posted to.
        share: The share of the traces that begin here which are recorded.
        root_path: The prefix under which a proxy shows the server; empty: none.
    """

    endpoint: str
    share: float = 1.0
    root_path: str = ""


def read_trace_config(settings: Settings) -> TraceConfig | None:
    """Return the configuration of tracing, and load the packages that it needs; None: there are no traces.

    Raises:
        TracingError: A package is missing, or the environment has a setting for the exporter that is not valid.
    """
    if settings.otlp_endpoint is None:
        return None
    path = urlsplit(settings.otlp_endpoint).path
    endpoint = settings.otlp_endpoint.rstrip("/") + DEFAULT_PATH if path in ("", "/") else settings.otlp_endpoint
    try:
        # Loaded before the workers are forked, so that these share its memory.
        from astec.server.tracing.otlp_spans import make_exporter

        make_exporter(endpoint).shutdown()  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise TracingError(
            f"--otlp-endpoint needs packages of OpenTelemetry ({error}). Install them: pip install 'astec[otel]'"
        ) from error
    except Exception as error:  # of the exporter, which reads variables that begin with OTEL_
        raise TracingError(f"the exporter of spans cannot be made: {error}. Check the variables OTEL_...") from error
    return TraceConfig(endpoint=endpoint, share=settings.otlp_sample, root_path=settings.root_path)
