"""Pure prediction: latency surface, capacity, load forecast. No clock, no I/O."""
