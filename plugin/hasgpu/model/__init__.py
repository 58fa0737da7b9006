"""The nouns that cross seams: frozen, units in their types. Imports nothing of ours."""
