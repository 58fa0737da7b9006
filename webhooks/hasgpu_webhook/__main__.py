"""``python -m hasgpu_webhook``: certificates first, then the server."""

from __future__ import annotations

import os
import sys

from hasgpu.telemetry import logs

from .environment import read_environment
from .process import SERVICE, first_certificates, make_app
from .server import Server


def main() -> int:
    """Runs until told to stop."""
    logs.configure(SERVICE)
    try:
        environment = read_environment(os.environ)
    except ValueError as error:
        print(f"hasgpu-webhook: {error}", file=sys.stderr)
        return 2
    first_certificates(environment)
    Server(environment, lambda: make_app(environment)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
