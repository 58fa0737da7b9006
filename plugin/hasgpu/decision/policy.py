"""The knobs of our class, with their defaults and why. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the hybrid autoscaler weighs the SLO against GPU time."""

    hold_s: float = 5.0
    """The quota follows the largest demand of the last so many seconds: noise of single seconds writes nothing."""

    write_percent_s: float = 80.0
    """A write is worth so many points of a row for a second: a quota falls once it has held so much for nothing, by 16
    points at once, by 3 after 22 s. On training seeds a third fewer writes for 1 % more GPU time; where quotas are of
    ten points, of which one is a tenth of the load, as many writes as before for 3 % more, and fewer requests late."""

    headroom: float = 2.0
    """A new pod's share is chosen so that its quota alone can carry so many times the demand it was made for."""

    least_requests_per_s: float = 0.2
    """A revision that has pods is kept ready for so much: a request now and then is to be in time too."""

    first_requests_per_s: float = 2.0
    """What a pod is made for that nobody planned, at least."""

    wake_s: float = 0.1
    """From the first request of a parked pod to its first launch: what is seen of it, a decision, a write, a table."""

    prewarm_requests_per_s: float = 0.02
    """A season that brings so much by the time a pod could be ready is not waited for at zero pods: six requests in
    five minutes, of which the first would otherwise wait for a cold start."""

    drain_s: float = 1.0
    """Backlog beyond what the SLO explains is to be gone after so many seconds, or one SLO where that is longer."""

    startup_s: float = 8.0
    """From a decision to a ready pod, until one was seen to start."""

    patience: float = 3.0
    """A pod not needed is kept for so many start-ups: about then keeping it has cost what bringing it back would."""

    least_wait_s: float = 15.0
    """But never for less: where pods start quickly, load comes back as quickly."""

    regret: float = 1.0
    """Pods are replaced by ones of another SM share once so many times the cost of that has been lost."""

    drain_of_pod_s: float = 30.0
    """How long a pod holds its slice after its deletion: Knative's queue-proxy drains."""

    scale_in_load: float = 0.85
    """Fewer pods must carry the demand with this part of what they can."""

    unprofiled_sm_percent: int = 50
    """SM share of a pod of which nothing is known, where so much is free."""

    unprofiled_memory_bytes: int = 2 << 30
    """Memory cap of a pod of which nothing is known."""

    replace_after_s: float = 30.0
    """How long a new revision waits for its predecessor's room before one old pod is evicted."""

    recreate: bool = False
    """True: the last Ready pod may be evicted too (setting ``replace: recreate``)."""

    quiet_s: float = 1.0
    """Least time between two shrinks of a pod's quota."""

    move_after_s: float = 300.0
    """Pods are moved once that could have freed a GPU for so long: more than any plan of moves costs. 0: never."""

    most_moves: int = 8
    """Moves for one GPU at most."""

    move_most_s: float = 600.0
    """A pod whose twin, or whose successor of another SM share, does not serve after so long stays where it is."""

    in_vain_s: float = 3600.0
    """So long no other is made for a pod of that revision: most often its image or its node's disk is at fault."""
