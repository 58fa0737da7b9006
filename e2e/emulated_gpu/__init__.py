"""The emulated GPU: C doubles of NVIDIA's driver, and a reader of their kernel log."""
