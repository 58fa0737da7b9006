"""Differential tests of our autoscaling algorithm against Knative's own, compiled from its modules."""
