"""End to end: the test bed, the emulated GPU, functions under test, load, demo and scenarios."""
