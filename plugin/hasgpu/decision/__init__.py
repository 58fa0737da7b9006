"""Pure decisions: Knative's algorithm, vertical, horizontal, placement, and the reasons. No clock, no I/O."""
