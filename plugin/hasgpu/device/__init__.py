"""Adapter: NVML, MPS control, schedule and pod pages."""
