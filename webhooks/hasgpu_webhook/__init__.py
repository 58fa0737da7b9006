"""Process: the mutating admission webhook."""
