"""Adapter: OpenTelemetry traces and metrics, JSON logs, CloudEvents. Tells what happened; decides nothing."""
