"""Annotation keys and fixed names of the product (design §3). Strings only."""

USER_PREFIX = "hasgpu.dev/"
SLICE_PREFIX = "slice.hasgpu.dev/"

# Written by the user on spec.template.metadata.annotations.
SLO_LATENCY = "hasgpu.dev/slo-latency"
SLO_PERCENTILE = "hasgpu.dev/slo-percentile"
PROFILE = "hasgpu.dev/profile"
SM_PARTITION = "hasgpu.dev/sm-partition"
TIME_QUOTA = "hasgpu.dev/time-quota"
GPU_MEMORY = "hasgpu.dev/gpu-memory"
BATCH_SIZE = "hasgpu.dev/batch-size"
GPU_PRODUCT = "hasgpu.dev/gpu-product"
GPU_CONTAINERS = "hasgpu.dev/gpu-containers"
GPU_PROCESSES = "hasgpu.dev/gpu-processes"
SCALING = "hasgpu.dev/scaling"

USER_KEYS = (
    SLO_LATENCY,
    SLO_PERCENTILE,
    PROFILE,
    SM_PARTITION,
    TIME_QUOTA,
    GPU_MEMORY,
    BATCH_SIZE,
    GPU_PRODUCT,
    GPU_CONTAINERS,
    GPU_PROCESSES,
    SCALING,
)

# Written by us on Pods, never on a Revision, Deployment or template.
SLICE_GPU = "slice.hasgpu.dev/gpu"
SLICE_ROW = "slice.hasgpu.dev/row"
SLICE_SM_PARTITION = "slice.hasgpu.dev/sm-partition"
SLICE_GPU_MEMORY = "slice.hasgpu.dev/gpu-memory"
SLICE_TIME_QUOTA = "slice.hasgpu.dev/time-quota"
SLICE_GENERATION = "slice.hasgpu.dev/generation"
SLICE_TRACEPARENT = "slice.hasgpu.dev/traceparent"
SLICE_MOVES_FOR = "slice.hasgpu.dev/moves-for"
"""On a pod that is to be moved: the GPU that is emptied by it."""
SLICE_TWIN_OF = "slice.hasgpu.dev/twin-of"
"""On a pod that was made to take another's place: that one's UID."""
POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

# Knative's keys that we read or stamp.
CLASS = "autoscaling.knative.dev/class"
METRIC = "autoscaling.knative.dev/metric"
TARGET_BURST_CAPACITY = "autoscaling.knative.dev/target-burst-capacity"
PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
REVISION_LABEL = "serving.knative.dev/revision"
SERVICE_LABEL = "serving.knative.dev/service"
CONFIGURATION_LABEL = "serving.knative.dev/configuration"

HAS_CLASS = "has.autoscaling.hasgpu.dev"
KPA_CLASS = "kpa.autoscaling.knative.dev"
SCHEDULING_GATE = "hasgpu.dev/slice"
CSI_DRIVER = "pages.hasgpu.dev"
ALLOCATOR_LEASE = "hasgpu-allocator"
NODE_ENABLED_LABEL = "hasgpu.dev/enabled"
LEARNED_LABEL = "hasgpu.dev/learned"
STATIC_FEATURES = "hasgpu.dev/static-features"
"""On a LatencyProfile: operator counts and MACs as JSON, what one of few or no cells is predicted from."""
SIDECAR_CONTAINER = "hasgpu-mps"
SETTINGS_CONFIG_MAP = "config-hasgpu"
