"""Test-bed room: a real Kubernetes with Knative on this one machine; it knows nothing of the product's inside."""
