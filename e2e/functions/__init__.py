"""Functions that the scenarios deploy."""
