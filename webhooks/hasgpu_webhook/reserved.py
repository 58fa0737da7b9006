"""Names and places inside a GPU pod that are ours (design §3, §8). Strings only."""

SIDECAR_PORT = 9402
SIDECAR_PROGRAM = "/hasgpu-mps-sidecar"
SHIM = "/opt/hasgpu/lib/libcuda.so.1:/opt/hasgpu/lib/libcuda.so:/opt/hasgpu/lib/libnvidia-ml.so.1"
"""What is preloaded: the proxy of the driver, what bears its name without a number, and the proxy of NVML."""
LIB_DIR = "/opt/hasgpu/lib"
PAGE_DIR = "/run/hasgpu/page"
SCHEDULE_DIR = "/run/hasgpu/schedule"
MPS_DIR = "/run/hasgpu/mps"
SHM_DIR = "/dev/shm"  # where MPS clients look for the shared memory of their daemon

VOLUME_PREFIX = "hasgpu-"
RESERVED_DIRS = (LIB_DIR, "/run/hasgpu")
QUEUE_PROXY = "queue-proxy"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
USER_CONTAINER = "user-container"  # the name Knative gives to a single container without one
