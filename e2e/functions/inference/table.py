"""The kernel table of a model: the image that the GPU loads, and what the host does around it. See models/README.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).with_name("models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One model."""

    model: str
    image: bytes
    kernels: tuple[str, ...]
    host_us_per_kernel: float
    memory_bytes: int


def read_table(model: str, folder: Path = MODELS) -> Table:
    """ValueError names the models there are."""
    path = folder / f"{model}.csv"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.csv")))
        raise ValueError(f"MODEL={model!r}: known are {known}")
    text = path.read_text()
    notes = dict(line[2:].split("=", 1) for line in text.splitlines() if line.startswith("# ") and "=" in line)
    rows = [line for line in text.splitlines() if line and not line.startswith("#")][1:]
    return Table(
        model=model,
        image=text.encode() + b"\0",
        kernels=tuple(row.split(",")[0] for row in rows),
        host_us_per_kernel=float(notes["host_us_per_kernel"]),
        memory_bytes=int(notes["memory_mib"]) << 20,
    )
