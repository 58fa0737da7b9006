"""Kills under load: every process may die at any instant, and users must not notice."""
