"""The evaluation of docs/evaluation.md: every table from one command, `make evaluate`, with the simulator."""
