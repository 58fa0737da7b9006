"""ConfigMaps and environment parsed into frozen settings."""
