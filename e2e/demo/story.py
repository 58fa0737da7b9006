"""What the traces and events tell: one linked story, or what is missing from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STAGES = ("admit", "place", "decide", "actuate")


def linked_story(spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The four stages reachable from one another by parent or link; None where no such story arrived.

    A span belongs to a story with its parent and with the spans it links to, whatever their trace ids.
    """
    ours = {span["span_id"]: span for span in spans if span["name"] in STAGES}
    neighbours: dict[str, set[str]] = {identity: set() for identity in ours}
    for identity, span in ours.items():
        for other in (span["parent_id"], *(link["span_id"] for link in span["links"])):
            if other in ours:
                neighbours[identity].add(other)
                neighbours[other].add(identity)
    unseen = set(ours)
    while unseen:
        story, frontier = set[str](), {unseen.pop()}
        while frontier:
            story |= frontier
            frontier = {other for identity in frontier for other in neighbours[identity]} - story
        unseen -= story
        if {ours[identity]["name"] for identity in story} == set(STAGES):
            return sorted((dict(ours[identity]) for identity in story), key=lambda span: span["start_ns"])
    return None


def events_by_type(events: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many CloudEvents of each type came with a traceparent."""
    counts: dict[str, int] = {}
    for event in events:
        attributes = event["attributes"]
        if attributes.get("traceparent"):
            counts[attributes["type"]] = counts.get(attributes["type"], 0) + 1
    return counts
