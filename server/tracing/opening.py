"""Opens the tracer of a worker."""

from __future__ import annotations

from astec.export.artifact.store import Artifact
from astec.server.metrics.board import Metrics
from astec.server.tracing.span_export import SpanExport
from astec.server.tracing.trace_config import TraceConfig
from astec.server.tracing.tracer import Tracer


def open_tracer(config: TraceConfig, artifact: Artifact, metrics: Metrics) -> Tracer:
    """Return the tracer of a worker that serves an artifact; its thread starts later, with `Tracer.start`."""
    model = artifact.manifest.model
    return Tracer(config, SpanExport(config, model.name, model.version, metrics))
