"""Open-loop load: arrivals are fixed beforehand and never wait for answers."""
