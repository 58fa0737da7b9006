"""Process autoscaler: ``python -m hasgpu.autoscaler``. Reads the environment; everything else is ``process``."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from hasgpu.cluster.errors import Unreachable
from hasgpu.cluster.first_contact import answered
from hasgpu.cluster.session import Session
from hasgpu.settings.errors import SettingsError
from hasgpu.telemetry.cloudevents import CloudEvents
from hasgpu.telemetry.logs import configure

from .activator_probe import cluster_domain
from .fitter_child import run_fitter
from .garbage import kept_for_good
from .has_class import HasClass
from .process import SERVICE, Identity, Process

log = logging.getLogger(__name__)

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 20


def _give_back_large() -> None:
    """Lists come in bodies of tens of megabytes, and the allocator would keep the room of the largest for good: glibc
    gives back at once what is above a fixed threshold."""
    with contextlib.suppress(AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def main() -> int:
    """Serves until SIGTERM."""
    configure(SERVICE)
    # A connection is kept to each pod that is scraped; container runtimes may allow 1,024 files unless asked for more.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    identity = Identity(
        pod_name=os.environ["POD_NAME"],
        pod_ip=os.environ["POD_IP"],
        namespace=os.environ["SYSTEM_NAMESPACE"],
        domain=cluster_domain(),
        tls_folder=Path(os.environ.get("HASGPU_TLS", "/etc/hasgpu/tls")),
    )
    session = Session.connect(user_agent=SERVICE)
    make_class = partial(HasClass, fit=run_fitter)
    try:
        if not answered(session, stopping):
            return 0
        process = Process(session, identity, CloudEvents.from_environment(os.environ), make_class)
    except SettingsError as error:
        log.critical("%s; not started: the defaults might undo what it was to set", error)
        return 1
    except Unreachable as error:
        log.critical("%s; ended: no API server for a minute", error)
        return 1
    _give_back_large()
    with kept_for_good():
        process.start()
    stopping.wait()
    process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
