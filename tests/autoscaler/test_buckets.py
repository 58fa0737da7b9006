"""All replicas, and Knative's own autoscaler, agree on who leads a revision."""

from __future__ import annotations

import pytest
from hasgpu.autoscaler.buckets import address, bucket_names, identity, owner
from hasgpu.model.keys import RevisionKey

# Recorded from knative.dev/pkg/hash.ChooseSubset of Knative Serving 0.50 (1.23).
RECORDED = [
    (2, "ns-22/rev-250-00002", 0),
    (2, "ns-35/rev-389-00001", 1),
    (4, "ns-5/rev-29-00009", 3),
    (5, "ns-1/rev-213-00006", 2),
    (7, "ns-23/rev-766-00009", 3),
    (7, "ns-46/rev-913-00005", 6),
    (8, "ns-25/rev-578-00003", 2),
    (9, "ns-18/rev-69-00009", 0),
    (10, "ns-32/rev-213-00002", 1),
    (10, "ns-36/rev-721-00003", 0),
]


@pytest.mark.parametrize(("buckets", "key", "index"), RECORDED)
def test_a_revision_belongs_to_the_bucket_that_knative_says(buckets: int, key: str, index: int) -> None:
    names = bucket_names(buckets)
    assert owner(names, RevisionKey.parse(key)) == names[index]


def test_one_bucket_owns_all() -> None:
    assert bucket_names(1) == ("autoscaler-bucket-00-of-01",)
    assert owner(bucket_names(1), RevisionKey("ns", "rev")) == "autoscaler-bucket-00-of-01"


@pytest.mark.parametrize(
    ("holder", "want"),
    [
        (identity("autoscaler-7d9c-abcde", "10.0.0.7"), "ws://10.0.0.7:8080"),
        (identity("autoscaler-7d9c-abcde", "fd00::7"), "ws://[fd00::7]:8080"),
        ("", None),
        ("somebody", None),
        ("autoscaler_", None),
    ],
)
def test_a_holder_says_where_it_is_reached(holder: str, want: str | None) -> None:
    assert address(holder) == want
