"""Process edge of the node agent: environment, signals, logging."""

from __future__ import annotations

import logging
import os
import signal
import sys

from hasgpu.cluster.errors import ClusterError
from hasgpu.cluster.session import Session
from hasgpu.device.errors import DeviceError
from hasgpu.device.nvml import Nvml

from .agent import Agent
from .options import Options


def main() -> int:
    """Runs the agent until SIGTERM; 1 with a reason where it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        options = Options.parse(os.environ)
        nvml = Nvml()
        agent = Agent(options, Session.connect(user_agent="hasgpu-node"), nvml)
    except (ValueError, OSError, DeviceError, ClusterError) as error:
        print(f"hasgpu-node: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    signal.signal(signal.SIGINT, lambda *_: agent.stop())
    agent.run()
    nvml.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
