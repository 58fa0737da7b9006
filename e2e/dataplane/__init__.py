"""Proof and bench of the data plane: real processes through the shim as released, judged by the emulated GPU's log."""
