"""The bed's network plan. It may not touch the network."""

from __future__ import annotations

NODE_NAME = "node1"
NODE_IP = "10.200.0.1"
NODE_PREFIX = f"{NODE_IP}/24"
NODE_NETWORK = "10.200.0.0/24"
NODE_BRIDGE = "k8snode"
"""An empty bridge: it plays the node's network card where the kernel has no dummy device."""

POD_NETWORK = "10.88.0.0/24"
POD_RANGE = "10.88.0.0/16"
POD_BRIDGE = "hasgpu-cni"

SERVICE_RANGE = "10.96.0.0/16"
KUBERNETES_SERVICE_IP = "10.96.0.1"
DNS_IP = NODE_IP
CLUSTER_DOMAIN = "cluster.local"

API_PORT = 6443
API_URL = f"https://{NODE_IP}:{API_PORT}"
ETCD_URL = "http://127.0.0.1:2379"
INGRESS_URL = f"http://{NODE_IP}:80"
SERVICE_DOMAIN = "example.test"
