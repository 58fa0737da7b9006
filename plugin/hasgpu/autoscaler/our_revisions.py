"""Process autoscaler: the PodAutoscalers of our class, followed version by version. Used by one thread; no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from hasgpu.cluster.knative import PodAutoscaler
from hasgpu.model import annotations as keys
from hasgpu.model.keys import RevisionKey

from . import revision_spec
from .changes import changes
from .profile_book import ProfileKey
from .revision_intents import intent_of


class OurRevisions:
    """Each version is read once."""

    def __init__(self) -> None:
        self._seen: tuple[PodAutoscaler, ...] = ()
        self._ours: dict[RevisionKey, PodAutoscaler] = {}
        self._profiles: dict[RevisionKey, ProfileKey] = {}

    def follow(self, seen: tuple[PodAutoscaler, ...]) -> Mapping[RevisionKey, PodAutoscaler]:
        """Ours of all that there are now, by value."""
        gone, come = changes(self._seen, seen)
        self._seen = seen
        for pa in gone:
            self._ours.pop(_key(pa), None)
            self._profiles.pop(_key(pa), None)
        for pa in come:
            if revision_spec.scaling_class(pa) == keys.HAS_CLASS and pa.metadata.deletion_timestamp is None:
                self._ours[_key(pa)] = pa
                intent = intent_of(pa.metadata.annotations, pa.metadata.labels)
                if intent is not None:
                    self._profiles[_key(pa)] = (pa.metadata.namespace, intent.profile)
        return dict(self._ours)

    def profiles(self) -> set[ProfileKey]:
        """What they predict with, whether it exists or not."""
        return set(self._profiles.values())


def _key(pa: PodAutoscaler) -> RevisionKey:
    return RevisionKey(pa.metadata.namespace, pa.metadata.name)
