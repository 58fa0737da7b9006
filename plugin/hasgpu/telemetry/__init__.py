"""Adapter: OpenTelemetry, logs, CloudEvents."""
