"""Process: the `kn hasgpu` plugin. Composition and words for people; imports only what the verb needs."""
