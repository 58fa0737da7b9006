"""Process simulator: the policies by name. Ours runs ``decision/`` as the cluster does; the others are its rivals."""
