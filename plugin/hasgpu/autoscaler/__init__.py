"""Process: Knative's autoscaler and the GPU allocator. Composition only."""
