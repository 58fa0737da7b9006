"""Upstream's own end-to-end tests, unmodified, with Knative's autoscaler and with ours on one bed."""
