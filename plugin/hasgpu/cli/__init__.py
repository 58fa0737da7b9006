"""Process: kn hasgpu."""
