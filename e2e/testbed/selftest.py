"""Proof on this machine that the bed starts, serves and leaves nothing behind. It may not run beside other work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from e2e.testbed import bed, process
from e2e.testbed.addresses import INGRESS_URL, SERVICE_DOMAIN
from e2e.testbed.kubectl import kubectl, read
from e2e.testbed.paths import ROOT
from e2e.testbed.shell import CommandError

FIRST_ANSWER_WITHIN_S = 20.0
_UP = (sys.executable, "-c", "from e2e.testbed import bed; bed.up()")

_HELLO = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: default}
spec:
  template:
    spec:
      containers:
      - image: hasgpu.local/kn-helloworld:1
        readinessProbe: {periodSeconds: 1, tcpSocket: {port: 0}}
"""


def run_all() -> int:
    """Every check in turn; 0 when all hold."""
    _expect_nothing("before the first start" if not bed.down() else "after a first sweep")
    bed.build()
    took_s = _first_answer_s()
    print(f"first answered ksvc {took_s:.1f} s after up (at most {FIRST_ANSWER_WITHIN_S:.0f} s)")
    if took_s > FIRST_ANSWER_WITHIN_S:
        raise CommandError(f"the first answer took {took_s:.1f} s")
    _up_again()
    _stop_cleanly()
    for after_s in (2.0, 5.0, 9.0):
        _kill_midway(after_s)
    print("selftest passed")
    return 0


def _first_answer_s() -> float:
    started = time.monotonic()
    bed.up()
    _make_hello()
    _answer()
    return time.monotonic() - started


def _make_hello() -> None:
    """Knative's webhook may still be getting its certificate."""
    deadline = time.monotonic() + 30
    while True:
        try:
            kubectl("apply", "-f", "-", stdin=_HELLO)
            return
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _answer(within_s: float = 30.0) -> str:
    request = urllib.request.Request(INGRESS_URL, headers={"Host": f"hello.default.{SERVICE_DOMAIN}"})
    deadline = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, OSError) as trouble:
            if time.monotonic() > deadline:
                raise CommandError(f"hello did not answer within {within_s:.0f} s: {trouble}") from trouble
            time.sleep(0.05)


def _up_again() -> None:
    """A second start is quick and touches nothing: same processes, same pods, a patched setting stays."""
    kubectl("-n", "knative-serving", "patch", "configmap", "config-gc", "--type=merge", "-p", '{"data": {"a": "b"}}')
    before = _fingerprint()
    started = time.monotonic()
    bed.up()
    print(f"second up took {time.monotonic() - started:.1f} s")
    if _fingerprint() != before:
        raise CommandError("a second up changed processes, pods or settings")


def _fingerprint() -> object:
    programs = {name: process.pid(name) for name in bed.PROGRAMS}
    pods = {pod["metadata"]["uid"] for pod in read("pods", "-n", "knative-serving")["items"]}
    return programs, pods, read("configmap", "config-gc", "-n", "knative-serving")["data"].get("a")


def _stop_cleanly() -> None:
    started = time.monotonic()
    bed.down()
    print(f"down took {time.monotonic() - started:.1f} s")
    _expect_nothing("after down")


def _kill_midway(after_s: float) -> None:
    """`up` dies by SIGKILL at any moment; `down` still finds everything."""
    starting = subprocess.Popen(_UP, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    os.killpg(starting.pid, signal.SIGKILL)
    starting.wait()
    bed.down()
    _expect_nothing(f"after kill -9 at {after_s:.0f} s")


def _expect_nothing(when: str) -> None:
    if left := bed.remains():
        raise CommandError(f"{when} this machine still carries: {'; '.join(left[:10])}")
    print(f"nothing left {when}")
