"""What each image of the bed is made of: one table. It may not import images or start anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.testbed import workshop
from e2e.testbed.image import Blob, File, Folder, Image, Text
from e2e.testbed.paths import BIN, CACHE, ROOT
from e2e.testbed.shell import CommandError, run

_NOBODY = "65532:65532"
_SHIM_SOURCES = ROOT / "plugin" / "shim"
_SHIM = _SHIM_SOURCES / "build"
_INFERENCE = ROOT / "e2e" / "functions" / "inference"
_RECEIVERS = ROOT / "e2e" / "receivers"
_PYTHON = ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/local/bin:/usr/bin:/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An image: its layers from the rarely to the often changed one, and how it starts."""

    name: str
    layers: Callable[[], Sequence[Blob]]
    entrypoint: tuple[str, ...]
    needs: tuple[Path, ...] = ()
    """Files that other parts build; without them the image is not made."""
    makefile: Path | None = None
    """A folder whose `make` brings those files up to date."""
    user: str = _NOBODY
    environment: tuple[str, ...] = ("PATH=/usr/local/bin:/usr/bin:/bin",)

    def make(self) -> Image:
        """The image; CommandError where what it needs does not compile or is not there."""
        if self.makefile:
            run("make", "--silent", "-C", str(self.makefile))
        if missing := [str(path.relative_to(ROOT)) for path in self.needs if not path.exists()]:
            raise CommandError(f"needs {', '.join(missing)}")
        return workshop.store.image(
            f"hasgpu.local/{self.name}:1",
            self.layers(),
            entrypoint=self.entrypoint,
            environment=self.environment,
            user=self.user,
        )


def _program(binary: str, image: str, target: str) -> Recipe:
    """A static Go program alone in its image."""
    return Recipe(
        name=image,
        layers=lambda: [workshop.static_layer(BIN / binary, target)],
        entrypoint=(target,),
        needs=(BIN / binary,),
    )


def _pause() -> Sequence[Blob]:
    source, program = Path(__file__).with_name("pause.c"), CACHE / "pause"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        run("musl-gcc", "-static", "-Os", "-s", "-o", str(program), str(source))
    return [workshop.static_layer(program, "/pause")]


def _python(extra: str, *packages: tuple[Path, str], last: Sequence[Blob] = ()) -> Sequence[Blob]:
    return [
        workshop.debian_layer(),
        workshop.wheels_layer(workshop.requirements(extra)),
        *last,
        workshop.sources_layer(packages),
    ]


_HASGPU = (ROOT / "plugin" / "hasgpu", "hasgpu")
_WEBHOOK = (ROOT / "webhooks" / "hasgpu_webhook", "hasgpu_webhook")


def _node() -> Sequence[Blob]:
    """Agent and MPS entry point, and the libraries that the agent mounts into GPU containers."""
    libraries = [
        File(source=file, target=f"/opt/hasgpu/lib/{file.name}")
        for file in sorted(_SHIM.glob("*.so*"))
        if file.is_file()
    ]
    programs = [
        File(source=_SHIM / name, target=f"/opt/hasgpu/bin/{name}")
        for name in ("hasgpu-arbiter",)
        if (_SHIM / name).exists()
    ]
    return _python("node", _HASGPU, last=[workshop.files_layer(*libraries, *programs)])


def _inference() -> Sequence[Blob]:
    wheels = [line.split("#")[0].strip() for line in (_INFERENCE / "requirements.txt").read_text().splitlines()]
    return [
        workshop.debian_layer(),
        workshop.wheels_layer(line for line in wheels if line),
        # Where NVIDIA's base images look for the driver that the container runtime mounts.
        workshop.files_layer(
            Folder(target="/etc/ld.so.conf.d"),
            Text(content="/usr/local/nvidia/lib64\n", target="/etc/ld.so.conf.d/nvidia.conf"),
        ),
        workshop.sources_layer([(_INFERENCE, "inference")]),
    ]


SYSTEM = (
    Recipe(name="pause", layers=_pause, entrypoint=("/pause",)),
    *(
        _program(f"kn-{name}", f"kn-{name}", f"/ko-app/{name}")
        for name in ("controller", "webhook", "activator", "autoscaler", "queue", "helloworld", "autoscale")
    ),
    _program("kourier", "kn-kourier", "/ko-app/kourier"),
    Recipe(
        name="kn-envoy",
        layers=lambda: [workshop.debian_layer(), workshop.envoy_layer()],
        entrypoint=("/usr/local/bin/envoy",),
    ),
)
"""Knative and what it runs on."""

PRODUCT = (
    Recipe(
        name="hasgpu-webhook",
        layers=lambda: _python("webhook", _HASGPU, _WEBHOOK),
        entrypoint=("python3", "-m", "hasgpu_webhook"),
        environment=_PYTHON,
    ),
    Recipe(
        name="hasgpu-autoscaler",
        layers=lambda: _python("autoscaler", _HASGPU),
        entrypoint=("python3", "-m", "hasgpu.autoscaler"),
        environment=_PYTHON,
    ),
    Recipe(
        name="hasgpu-node",
        layers=_node,
        entrypoint=("python3", "-m", "hasgpu.nodeagent"),
        needs=(_SHIM / "libcuda.so.1",),
        makefile=_SHIM_SOURCES,
        user="0:0",
        environment=_PYTHON,
    ),
    Recipe(
        name="hasgpu-sidecar",
        layers=lambda: [workshop.static_layer(_SHIM / "hasgpu-mps-sidecar", "/hasgpu-mps-sidecar")],
        entrypoint=("/hasgpu-mps-sidecar",),
        needs=(_SHIM / "hasgpu-mps-sidecar",),
        makefile=_SHIM_SOURCES,
    ),
    Recipe(
        name="inference",
        layers=_inference,
        entrypoint=("python3", "-m", "inference"),
        needs=(_INFERENCE / "requirements.txt",),
        environment=(*_PYTHON, "LD_LIBRARY_PATH=/usr/local/nvidia/lib64"),
    ),
    Recipe(
        name="receivers",
        # The webhook's wheels serve here as well, and the layer is there already.
        layers=lambda: _python("webhook", (_RECEIVERS, "receivers")),
        # One process: what it received is kept in its memory.
        entrypoint=(
            "python3",
            "-m",
            "gunicorn",
            "-b",
            "0.0.0.0:8080",
            "--threads=8",
            "--no-control-socket",
            "receivers.app:create_app()",
        ),
        environment=_PYTHON,
    ),
)
"""This project's own images, its function under test, and the witnesses of the tests."""
