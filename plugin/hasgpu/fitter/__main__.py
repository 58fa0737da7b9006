"""Process fitter: `fit` answers one order on stdin; `train FILE --data DIR` writes the packaged reference."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

from .child import answer
from .errors import FitError
from .measured import read_models
from .reference_file import packaged_reference, write_reference

MOST_DATA_BYTES = 400 << 20


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="hasgpu.fitter")
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train", help="train the packaged reference")
    train.add_argument("file", type=Path)
    train.add_argument("--data", type=Path, required=True, help="folder with latency.csv.gz and model_static.csv.gz")
    verbs.add_parser("fit", help="fit one profile: an order on stdin, tables on stdout")
    options = parser.parse_args()
    try:
        if options.verb == "fit":
            os.nice(10)  # beside a leader that decides
            # Within the leader's own memory limit: a profile that needs more is told, and nobody is killed for it.
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA_BYTES, MOST_DATA_BYTES))
            sys.stdout.buffer.write(answer(sys.stdin.buffer.read(), packaged_reference()))
            return 0
        return _train(options.file, options.data)
    except FitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _train(file: Path, data: Path) -> int:
    # Training loads scikit-learn; fitting must start at once.
    from .train import train_reference

    started_at = time.monotonic()
    models = read_models(data)
    write_reference(file, train_reference(models, told=_tell))
    took_s = time.monotonic() - started_at
    print(f"\r{len(models)} models, {file.stat().st_size} bytes, {took_s:.1f} s", file=sys.stderr)
    return 0


def _tell(part: float) -> None:
    print(f"\r{100.0 * part:3.0f} %", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
