"""Knative's autoscaler and ours under the same load, side by side: CPU, memory, latency, restart, cold start."""
