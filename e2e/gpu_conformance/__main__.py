"""gpu-conformance: what only a GPU can show, in ten minutes at most. Prints JSON: driver, GPU, PASS / FAIL, figures.

    sudo python -m e2e.gpu_conformance [--keep-compute-mode] [--gpu 0] [--only CHECK]

It needs the driver (libcuda.so.1, libnvidia-ml.so.1, nvidia-cuda-mps-control) and nobody else on the GPU. As root it
sets EXCLUSIVE_PROCESS while its MPS daemon runs and puts the mode back; --keep-compute-mode leaves it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pynvml
from hasgpu.device.nvml import Nvml

from .checks import CHECKS
from .stage import SHIM, Stage


def main() -> int:
    """1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-compute-mode", action="store_true", help="change no setting of the device")
    parser.add_argument("--gpu", type=int, default=0, help="index as NVML counts")
    parser.add_argument("--only", choices=[check.__name__ for check in CHECKS], help="one check")
    options = parser.parse_args()
    subprocess.run(["make", "-s", "-C", str(SHIM.parents[1])], check=True)
    nvml = Nvml()
    device = nvml.devices()[options.gpu]
    keep = options.keep_compute_mode or os.geteuid() != 0
    stage = Stage(nvml, device, os.environ.get("HASGPU_MPS_PATH", ""), keep_compute_mode=keep)
    results = []
    try:
        for check in CHECKS:
            if options.only in (None, check.__name__):
                results.append(_result(check, stage))
                print(f"{results[-1]['verdict']:5} {check.__name__}", file=sys.stderr)
    finally:
        stage.close()
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        # The emulated driver says where its devices are; a real one needs no such word.
        "emulated": "HASGPU_EMULATED_DIR" in os.environ,
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
        "gpu": device.product,
        "compute_mode_kept": keep,
        "checks": results,
    }
    print(json.dumps(record, indent=1))
    nvml.close()
    return any(result["verdict"] == "FAIL" for result in results)


def _result(check, stage: Stage) -> dict[str, object]:  # type: ignore[no-untyped-def]
    try:
        found = check(stage)
    except Exception as error:
        # One broken check must not hide the others.
        return {"check": check.__name__, "verdict": "FAIL", "reason": f"{type(error).__name__}: {error}"}
    if found is None:
        return {"check": check.__name__, "verdict": "SKIP", "reason": "not installed"}
    passed, figures = found
    return {"check": check.__name__, "verdict": "PASS" if passed else "FAIL", "figures": figures}


if __name__ == "__main__":
    sys.exit(main())
