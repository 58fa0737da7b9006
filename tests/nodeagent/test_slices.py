"""From the ledger to schedule pages, on real page files."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hasgpu.cluster.metadata import Metadata
from hasgpu.cluster.objects import Pod, PodStatus
from hasgpu.device import page_layout
from hasgpu.device.pages import PodPage, SchedulePage
from hasgpu.model.gpu import GpuSlice
from hasgpu.model.ledger import slice_annotations
from hasgpu.model.units import SmPartition, TimeQuota
from hasgpu.nodeagent.folders import Folders
from hasgpu.nodeagent.meter import Meter
from hasgpu.nodeagent.slices import NodeView, Slices, Tuning

GPU = "GPU-00000000-0000-0000-0000-000000000001"
GONE_AT = datetime(2026, 1, 1, tzinfo=UTC)


def uid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def pod(
    number: int,
    quota: int | None = 30,
    *,
    generation: int = 1,
    gpu: str = GPU,
    row: int = 0,
    going: bool = False,
    phase: str = "Running",
    extra: dict[str, str] | None = None,
) -> Pod:
    annotations: dict[str, str] = {}
    if quota is not None:
        annotations = slice_annotations(
            GpuSlice(
                gpu_uuid=gpu,
                row=row,
                sm_partition=SmPartition(50),
                time_quota=TimeQuota(quota),
                memory_bytes=1 << 30,
                generation=generation,
            )
        )
    return Pod(
        metadata=Metadata(
            name=f"pod-{number}",
            namespace="default",
            uid=uid(number),
            annotations=annotations | (extra or {}),
            deletion_timestamp=GONE_AT if going else None,
        ),
        status=PodStatus(phase=phase),
    )


class Node:
    """A node's slices with pages under a temporary folder, and a clock that a test moves."""

    def __init__(self, base: Path) -> None:
        self.folders = Folders(base)
        self.folders.gpu(GPU).schedule.mkdir(parents=True, exist_ok=True)
        self.page = SchedulePage.create(str(self.folders.gpu(GPU).schedule_page), GPU)
        self.meter = Meter(self.folders)
        self.slices = Slices("node1", {GPU: self.page}, self.meter, first_revision=100)
        self.tuning: Tuning | None = Tuning()
        self.now_s = 1000.0

    def see(
        self, *pods: Pod, published: tuple[int, ...] = (), running: tuple[int, ...] = (), synced: bool = True
    ) -> list[str]:
        """One round of the table loop; returns what it objected to."""
        view = NodeView(
            tuning=self.tuning,
            pods=pods if synced else None,
            published={uid(number): f"default/pod-{number}" for number in published},
            running=frozenset(uid(number) for number in running),
        )
        self.now_s += 1.0
        return [each.why for each in self.slices.apply(view, self.now_s, int(self.now_s * 1e9))]

    def laid(self) -> dict[str, int]:
        schedule = self.page.read()
        assert schedule is not None
        return {entry.pod_uid: entry.quota_percent for entry in schedule.entries}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_placed_pod_is_laid_and_live(node: Node) -> None:
    assert node.see(pod(1, 30)) == []
    assert node.laid() == {uid(1): 30}
    assert node.slices.wait_live(uid(1), 0).state == "live"


def test_a_changed_quota_is_laid_in_the_next_round_and_reported_with_its_generation(node: Node) -> None:
    node.see(pod(1, 30))
    before = node.slices.report().revision
    node.see(pod(1, 60, generation=2))
    (report,) = node.slices.report().pods
    assert (report.quota_percent, report.generation) == (60, 2)
    assert node.slices.report().revision > before


def test_a_round_that_changes_nothing_publishes_nothing(node: Node) -> None:
    node.see(pod(1))
    published, revision = node.page.publications, node.slices.report().revision
    for _ in range(30):
        node.see(pod(1))
    assert (node.page.publications, node.slices.report().revision) == (published, revision)


def test_a_table_that_does_not_change_stays_valid(node: Node) -> None:
    node.see(pod(1))
    for _ in range(200):
        node.see(pod(1))
    assert node.page.valid_until_ns > node.now_s * 1e9 + 40e9


def test_a_restarted_agent_goes_on_with_what_is_laid_before_it_has_seen_a_pod(node: Node, tmp_path: Path) -> None:
    node.see(pod(1, 30), pod(2, 50))
    again = Node(tmp_path)
    again.see(synced=False)
    assert again.laid() == {uid(1): 30, uid(2): 50}
    assert again.slices.wait_live(uid(1), 0).state == "live"


def test_a_new_window_is_laid_and_a_restarted_agent_keeps_it_until_it_knows_the_settings(
    node: Node, tmp_path: Path
) -> None:
    node.tuning = Tuning(window_ns=80_000_000, policy="token")
    node.see(pod(1))
    again = Node(tmp_path)
    again.tuning = None
    again.see(synced=False)
    schedule = again.page.read()
    assert schedule is not None
    assert (schedule.window_ns, schedule.rows) == (80_000_000, ((0, 50, "token"),))


def test_a_going_pod_keeps_its_slice_while_a_volume_is_mounted_or_a_process_runs(node: Node) -> None:
    node.see(pod(1))
    node.see(pod(1, going=True), published=(1,))
    node.see(published=(1,))
    node.see(running=(1,))
    assert node.laid() == {uid(1): 30}
    node.see()
    assert node.laid() == {}


def test_only_pods_that_go_and_have_no_volume_are_suspects(node: Node) -> None:
    pods = (pod(1), pod(2, going=True), pod(3, phase="Failed"), pod(4, going=True))
    node.see(*pods, published=(1, 2, 3, 4))
    assert node.slices.suspects(pods, {uid(4): "default/pod-4"}) == {uid(2), uid(3)}


def test_a_gone_pod_is_told_as_not_alive_for_a_minute(node: Node) -> None:
    node.see(pod(1))
    before = node.slices.report().revision
    node.see()
    assert [(each.pod_uid, each.alive) for each in node.slices.report().pods] == [(uid(1), False)]
    assert node.slices.report().revision > before
    for _ in range(61):
        node.see()
    assert node.slices.report().pods == ()


def test_an_over_committed_row_keeps_the_old_pod_and_the_newcomer_waits(node: Node) -> None:
    node.see(pod(1, 98))
    assert node.see(pod(1, 98), pod(2, 50)) == ["the row's other pods hold 98%"]
    assert node.slices.wait_live(uid(2), 0).state == "waiting"


def test_a_pod_without_a_slice_is_refused_with_the_reason(node: Node) -> None:
    node.see(pod(1, None))
    standing = node.slices.wait_live(uid(1), 0)
    assert (standing.state, standing.why) == ("refused", "it has no slice: hasgpu's allocator has not placed it")


def test_a_pod_of_a_gpu_elsewhere_is_refused(node: Node) -> None:
    node.see(pod(1, gpu="GPU-elsewhere"))
    assert node.slices.wait_live(uid(1), 0).state == "refused"
    assert node.laid() == {}


def test_a_laid_pod_keeps_its_slice_when_its_annotations_turn_to_nonsense(node: Node) -> None:
    node.see(pod(1, 30))
    node.see(pod(1, 30, extra={"slice.hasgpu.dev/time-quota": "lots"}))
    assert node.laid() == {uid(1): 30}


def test_a_laid_pod_never_changes_its_row(node: Node) -> None:
    node.see(pod(1, 30, row=0))
    node.see(pod(1, 40, row=5, generation=2))
    schedule = node.page.read()
    assert schedule is not None
    assert [(entry.row, entry.quota_percent) for entry in schedule.entries] == [(0, 40)]


def test_who_waits_for_a_slice_wakes_when_it_is_laid(node: Node) -> None:
    waiter = threading.Timer(0.05, lambda: node.see(pod(1)))
    waiter.start()
    assert node.slices.wait_live(uid(1), 5.0).state == "live"
    waiter.join()


def test_a_long_poll_answers_at_once_to_who_knows_an_older_revision(node: Node) -> None:
    node.see(pod(1))
    assert node.slices.wait_newer(99, 5.0).revision > 99


def test_counters_of_a_hostile_page_never_fall(node: Node) -> None:
    node.see(pod(1), published=(1,))
    page = node.folders.pod(uid(1)).page
    page.parent.mkdir(parents=True)
    PodPage.create(str(page))
    assert node.slices.report().pods[0].busy_ns == 0
    page.write_bytes(b"garbage")
    assert node.meter.read(uid(1)) is not None
    page.unlink()
    page.symlink_to("/etc/passwd")
    assert node.slices.report().pods[0].busy_ns == 0


def test_a_fault_is_marked_on_the_page_and_taken_back(tmp_path: Path) -> None:
    node = Node(tmp_path)

    def marked() -> bytes:
        offset, size = page_layout.SCHEDULE_FAULT
        return node.folders.gpu(GPU).schedule_page.read_bytes()[offset : offset + size]

    node.slices.mark_fault(GPU, fault=True)
    assert marked() == b"\1\0\0\0"
    node.slices.mark_fault(GPU, fault=False)
    assert marked() == b"\0\0\0\0"
