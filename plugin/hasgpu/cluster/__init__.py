"""Adapter: Kubernetes (session, reflector, patches, lease, events). The only room that knows the client."""
