"""Knative's test programs and the images they deploy, built from the pinned module. It may not run them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from e2e.testbed import containerd, workshop
from e2e.testbed.image import Image
from e2e.testbed.paths import BIN, GO_GROUPS
from e2e.testbed.pins import GO_GROUPS as PINNED
from e2e.testbed.toolchain import Go, find_go

from .suite import IMAGES, SUITE

MODULE = "knative.dev/serving"
FOLDER = GO_GROUPS / "serving"
PROGRAMS = BIN / "knative-tests"
REGISTRY = "hasgpu.local"
"""There is none: tests that need one skip themselves by this name."""
REPOSITORY = f"{REGISTRY}/knative-test-"
VERSION = next(group.version for group in PINNED if group.module == MODULE)


def build() -> None:
    """What is missing; Go's cache makes a second call quick."""
    stamp = PROGRAMS / "version"
    if stamp.exists() and stamp.read_text() == VERSION and all(path.exists() for path in _wanted()):
        return
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    go = find_go()
    for group in {each.binary: each for each in SUITE}.values():
        print(f"compiling {group.package}", flush=True)
        _compile(go, "test", "-c", "-tags=e2e", "-o", str(PROGRAMS / group.binary), f"{MODULE}/{group.package}")
    for folder in IMAGES:
        print(f"compiling image {folder}", flush=True)
        _compile(go, "build", "-o", str(PROGRAMS / Path(folder).name), f"{MODULE}/test/test_images/{folder}")
    stamp.write_text(VERSION)


def load_images() -> str:
    """Into the bed's containerd, where the kubelet finds them without pulling; the tests' template of image names.

    By digest: no registry answers which digest a tag has, and Knative's tests want a Revision to say it.
    """
    images = {Path(folder).name: _image(Path(folder).name) for folder in IMAGES}
    containerd.load(list(images.values()))
    cases = [f'{{{{if eq .Name "{name}"}}}}@{each.manifest.digest}{{{{end}}}}' for name, each in images.items()]
    return f"{REPOSITORY}{{{{.Name}}}}{''.join(cases)}"


def manifests() -> list[Path]:
    """Namespaces and objects that the tests expect."""
    module = Path(find_go().call(FOLDER, "list", "-m", "-f", "{{.Dir}}", MODULE).strip())
    return [module / "test/config/cluster-resources.yaml", module / "test/config/test-resources.yaml"]


def _wanted() -> list[Path]:
    return [PROGRAMS / group.binary for group in SUITE] + [PROGRAMS / Path(folder).name for folder in IMAGES]


def _compile(go: Go, verb: str, *arguments: str) -> None:
    command = ["nice", go.program, verb, "-trimpath", "-ldflags=-s -w", *arguments]
    subprocess.run(command, cwd=FOLDER, env=go.environment, check=True)


def _image(name: str) -> Image:
    target = f"/ko-app/{name}"
    image = workshop.store.image(
        name,
        [workshop.static_layer(PROGRAMS / name, target)],
        entrypoint=(target,),
        environment=("PATH=/usr/local/bin:/usr/bin:/bin",),
        user="65532:65532",
    )
    return replace(image, name=f"{REPOSITORY}{name}@{image.manifest.digest}")
