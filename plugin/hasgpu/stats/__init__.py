"""Adapter: Knative's stat wire (websocket in, queue-proxy and agent scrape)."""
