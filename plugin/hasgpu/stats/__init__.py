"""Adapter stats: Knative's stat wire and the node agents' reports. Owns sockets; knows no cluster, decides nothing."""
