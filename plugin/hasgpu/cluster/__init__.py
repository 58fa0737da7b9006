"""Adapter: Kubernetes. Sessions, reflectors, patches, leases, Events; knows no policy and decides nothing."""
