"""Traces: a span of OpenTelemetry for each sampled request, which a thread sends to a collector."""
