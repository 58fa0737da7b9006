"""Process simulator: a cluster in virtual time that the policies of ``decision/`` and their rivals steer."""
