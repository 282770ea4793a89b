"""Opens the tracer of a worker."""

from __future__ import annotations

from collections.abc import Sequence

from astec.export.artifact.store import Artifact
from astec.server.metrics.board import Metrics
from astec.server.tracing.span_export import SpanExport
from astec.server.tracing.trace_config import TraceConfig
from astec.server.tracing.tracer import Tracer


def open_tracer(config: TraceConfig, artifacts: Sequence[Artifact], metrics: Metrics) -> Tracer:
    """Return the tracer of a worker that serves artifacts; its thread starts later, with `Tracer.start`.

    Spans name the model that answers where there is only one.
    """
    model = artifacts[0].manifest.model
    named = (model.name, model.version) if len(artifacts) == 1 else ("", "")
    return Tracer(config, SpanExport(config, *named, metrics))
