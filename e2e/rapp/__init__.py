"""Predicted against measured latency: the capacity model held against real processes on the emulated GPU."""
