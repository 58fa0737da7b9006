"""hasgpu: a slice of a GPU for a Knative service."""
