"""Scenarios on a real cluster with hasgpu installed (the bed, or KUBECONFIG). The GPU may be emulated."""
