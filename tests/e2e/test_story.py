"""Spans tell one story where parents or links join all four stages."""

from typing import Any

from e2e.demo.story import events_by_type, linked_story


def span(name: str, identity: str, parent: str = "", *links: str) -> dict[str, Any]:
    return {
        "name": name,
        "span_id": identity,
        "trace_id": "t" + identity,
        "parent_id": parent,
        "links": [{"trace_id": "t" + link, "span_id": link} for link in links],
        "start_ns": ord(identity),
    }


def test_four_stages_joined_by_parents_and_links_are_one_story() -> None:
    spans = [span("actuate", "d", "c"), span("decide", "c", "", "b"), span("place", "b", "a"), span("admit", "a")]
    story = linked_story(spans)
    assert story is not None
    assert [one["name"] for one in story] == ["admit", "place", "decide", "actuate"]


def test_four_stages_that_nothing_joins_are_no_story() -> None:
    assert linked_story([span("admit", "a"), span("place", "b"), span("decide", "c"), span("actuate", "d")]) is None


def test_an_event_without_traceparent_does_not_count() -> None:
    events = [
        {"attributes": {"type": "x", "traceparent": "00-1-2-01"}},
        {"attributes": {"type": "x"}},
    ]
    assert events_by_type(events) == {"x": 1}
