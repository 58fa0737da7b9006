"""How long a GPU pod takes from its creation to Ready: what scale-out has to wait for."""
