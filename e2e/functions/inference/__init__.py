"""The function under test: one GPU inference per request, with the CUDA driver API and nothing of this project."""
