"""Schedule and pod pages: round trips, replacement under readers, and pods that lie."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import struct
import subprocess
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hasgpu.device import page_layout as at
from hasgpu.device.pages import PageError, PodPage, PodPageReport, SchedulePage, read_pod_page
from hasgpu.model.schedule import GpuSchedule, ScheduleEntry, Slot
from hypothesis import given, settings
from hypothesis import strategies as st

GPU = "GPU-5ffab3ae-0000-4c77-9d0f-1f3f4d1f0001"
WINDOW_NS = 40_000_000
SHIM = Path(__file__).parents[2] / "plugin" / "shim"


def entry(index: int = 0, quota: int = 30, generation: int = 1) -> ScheduleEntry:
    return ScheduleEntry(
        pod_uid=f"00000000-0000-4000-8000-{index:012d}",
        row=index % 3,
        quota_percent=quota,
        generation=generation,
        windows=1,
        phase=0,
        slots=(Slot(start_ns=0, end_ns=quota * WINDOW_NS // 100),),
        memory_bytes=1 << 30,
    )


def schedule(*entries: ScheduleEntry) -> GpuSchedule:
    return GpuSchedule(
        gpu_uuid=GPU, window_ns=WINDOW_NS, rows=((0, 50, "slots"), (1, 30, "token"), (2, 20, "slots")), entries=entries
    )


@pytest.fixture
def page(tmp_path: Path) -> SchedulePage:
    return SchedulePage.create(str(tmp_path / "schedule.v1"), GPU)


def test_the_generated_layout_is_what_the_header_says(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "-C", SHIM, f"BUILD={tmp_path}", f"{tmp_path}/layout"], check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    assert printed == Path(at.__file__).read_text()


def test_what_running_pods_know_of_version_1_still_holds() -> None:
    """Pods keep the shim they started with: until ABI is raised, fields may be added and none may move."""
    frozen = dict(line.split(" = ") for line in Path(__file__).with_name("layout_v1.txt").read_text().splitlines())
    assert at.ABI == 1
    assert {name: repr(getattr(at, name)) for name in frozen} == frozen


def test_a_new_page_has_no_table(page: SchedulePage) -> None:
    assert page.read() is None
    assert os.stat(page.path).st_size == at.SCHEDULE_FILE_BYTES


@given(
    quotas=st.lists(st.integers(0, 100), max_size=60),
    windows=st.integers(1, 8),
    generation=st.integers(0, 2**63),
)
@settings(max_examples=30, deadline=None)
def test_what_is_published_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, quotas: list[int], windows: int, generation: int
) -> None:
    page = SchedulePage.create(str(tmp_path_factory.mktemp("page") / "schedule.v1"), GPU)
    table = schedule(*(entry(i, quota, generation) for i, quota in enumerate(quotas)))
    page.publish(table, valid_for_s=60, now_ns=windows * WINDOW_NS)
    assert page.read() == table
    page.close()


def test_the_first_table_counts_at_once_and_later_ones_from_a_window_edge(page: SchedulePage) -> None:
    now_ns = 7 * WINDOW_NS + 5
    assert page.publish(schedule(entry()), valid_for_s=60, now_ns=now_ns) == now_ns
    assert page.publish(schedule(entry(quota=60)), valid_for_s=60, now_ns=now_ns) == 8 * WINDOW_NS
    assert page.effective_from_ns == 8 * WINDOW_NS


def test_renewing_moves_only_the_deadline(page: SchedulePage) -> None:
    page.publish(schedule(entry()), valid_for_s=1, now_ns=0)
    page.renew(valid_for_s=60, now_ns=5)
    assert page.valid_until_ns == 60_000_000_005
    assert page.publications == 1


def test_a_restarted_agent_finds_its_table_in_the_same_file(page: SchedulePage) -> None:
    table = schedule(entry(), entry(1))
    page.publish(table, valid_for_s=60, now_ns=0)
    inode = os.stat(page.path).st_ino
    page.close()
    again = SchedulePage.create(page.path, GPU)
    assert again.read() == table
    assert os.stat(page.path).st_ino == inode


def test_an_agent_that_died_while_writing_left_the_current_table(page: SchedulePage) -> None:
    first = schedule(entry())
    page.publish(first, valid_for_s=60, now_ns=0)
    with open(page.path, "r+b") as file:
        file.seek(at.SCHEDULE_EPOCH[0])
        file.write(struct.pack("<Q", 3))
        file.seek(at.SCHEDULE_TABLES[0])
        file.write(b"\xff" * 1000)
    assert page.read() == first
    second = schedule(entry(quota=60, generation=2))
    page.publish(second, valid_for_s=60, now_ns=WINDOW_NS)
    assert page.read() == second


def test_a_page_of_another_gpu_or_kind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "schedule.v1"
    path.write_bytes(b"x" * at.SCHEDULE_FILE_BYTES)
    assert SchedulePage.create(str(path), GPU).read() is None


def test_too_many_pods_are_refused(page: SchedulePage) -> None:
    with pytest.raises(PageError, match="65 pods"):
        page.publish(schedule(*(entry(i) for i in range(65))), valid_for_s=1, now_ns=0)


def test_readers_never_see_a_torn_table(page: SchedulePage) -> None:
    page.publish(schedule(*(entry(i, 5, 5) for i in range(60))), valid_for_s=60, now_ns=0)
    torn: list[GpuSchedule] = []
    stop = threading.Event()

    def read() -> None:
        reader = SchedulePage.create(page.path, GPU)
        while not stop.is_set():
            before = reader.publications
            table = reader.read()
            whole = reader.publications == before
            if whole and table and len({(e.quota_percent, e.generation) for e in table.entries}) != 1:
                torn.append(table)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(200):
        quota = 5 + number % 90
        page.publish(schedule(*(entry(i, quota, quota) for i in range(60))), valid_for_s=60, now_ns=0)
    stop.set()
    thread.join()
    assert not torn


@pytest.fixture
def pod_page(tmp_path: Path) -> Path:
    path = tmp_path / "page.v1"
    PodPage.create(str(path))
    return path


def report(path: Path) -> PodPageReport:
    found = read_pod_page(str(path))
    assert isinstance(found, PodPageReport)
    return found


def test_a_fresh_pod_page_reports_nothing_yet(pod_page: Path) -> None:
    found = report(pod_page)
    assert (found.processes, found.busy_ns, found.generation, found.sm_count) == (0, 0, -1, 0)
    assert os.stat(pod_page).st_mode & 0o777 == 0o666


def test_a_pod_page_is_made_once(pod_page: Path) -> None:
    with open(pod_page, "r+b") as file:
        file.seek(at.PAGE_SM_COUNT[0])
        file.write(struct.pack("<I", 40))
    PodPage.create(str(pod_page))
    assert report(pod_page).sm_count == 40


def hold_slot(path: str, index: int, ready: Connection) -> None:
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, at.LOCK_OFFSET + index)
        ready.send(os.getpid())
        ready.recv()


def test_memory_of_a_dead_process_is_not_counted_but_its_time_is(pod_page: Path) -> None:
    with open(pod_page, "r+b") as file:
        for index in range(2):
            slot = at.PAGE_PROCESSES[0] + index * at.PROCESS_BYTES
            file.seek(slot + at.PROCESS_BUSY_NS[0])
            file.write(struct.pack("<Q", 100))
            file.seek(slot + at.PROCESS_MEMORY_BYTES[0])
            file.write(struct.pack("<Q", 1000))
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=hold_slot, args=(str(pod_page), 1, theirs))
    process.start()
    pid = ours.recv()
    found = report(pod_page)
    assert (found.processes, found.pids, found.memory_bytes, found.busy_ns) == (1, (pid,), 1000, 200)
    process.kill()
    process.join()
    found = report(pod_page)
    assert (found.processes, found.memory_bytes, found.busy_ns) == (0, 0, 200)


def test_garbage_is_numbers_within_63_bits_and_never_an_exception(pod_page: Path) -> None:
    data = bytearray(b"\xff" * at.PAGE_FILE_BYTES)
    data[:8] = struct.pack("<Q", at.PAGE_MAGIC)
    pod_page.write_bytes(data)
    found = report(pod_page)
    assert found.busy_ns == 2**63 - 1
    assert found.processes == 0


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="a truncated page"),
        pytest.param(lambda path: path.write_bytes(b"\xff" * at.PAGE_FILE_BYTES), id="a page without magic"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), id="a link elsewhere"),
        pytest.param(lambda path: (path.unlink(), os.mkfifo(path)), id="a pipe that would block"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
        pytest.param(lambda path: path.unlink(), id="nothing there"),
    ],
)
def test_a_spoilt_pod_page_is_an_error_value(pod_page: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(pod_page)
    found = read_pod_page(pod_page.name, os.open(pod_page.parent, os.O_RDONLY))
    assert isinstance(found, PageError)
    assert "page.v1" in str(found)
