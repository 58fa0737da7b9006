"""The main job, shown: two annotated services share a GPU, scale up, out, in, to zero, and wake."""
