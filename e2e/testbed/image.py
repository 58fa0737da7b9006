"""Container images without a registry: layers, configuration and manifest as content-addressed files.

It may not run containers or know what is inside an image.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_OCI = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A stored file, named by its SHA-256."""

    digest: str
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A complete image: its name and every blob its manifest reaches."""

    name: str
    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A folder of the host, placed at `target`. Owners become root unless `keep_owners`."""

    source: Path
    target: str
    keep_owners: bool = False
    leave_out: Callable[[str], bool] = field(default=lambda relative: False)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    source: Path
    target: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    content: str
    target: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    target: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    target: str
    to: str


Entry = Tree | File | Text | Folder | Link


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of blobs. Writing the same content twice costs no space."""

    folder: Path

    def layer(self, entries: Iterable[Entry]) -> Blob:
        """One uncompressed layer; equal entries give equal bytes, so an unchanged layer is never imported again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"partial-{os.getpid()}-{id(entries)}"
        with partial.open("wb") as file:
            hashing = _Hashing(file)
            with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for entry in entries:
                    _add(tar, entry)
        digest = f"sha256:{hashing.sha256.hexdigest()}"
        return self._keep(partial, digest)

    def json(self, document: object) -> Blob:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(document, sort_keys=True).encode()
        partial = self.folder / f"partial-{os.getpid()}-{id(document)}"
        partial.write_bytes(content)
        return self._keep(partial, f"sha256:{hashlib.sha256(content).hexdigest()}")

    def find(self, digest: str) -> Blob | None:
        path = self.folder / digest.removeprefix("sha256:")
        return Blob(digest=digest, size_bytes=path.stat().st_size, path=path) if path.exists() else None

    def prune(self, images: Iterable[Image]) -> int:
        """Remove every blob that none of these images reaches; the bytes freed."""
        kept = {blob.path for image in images for blob in (image.manifest, image.config, *image.layers)}
        unused = [path for path in self.folder.iterdir() if path not in kept]
        freed_bytes = sum(path.stat().st_size for path in unused)
        for path in unused:
            path.unlink()
        return freed_bytes

    def _keep(self, partial: Path, digest: str) -> Blob:
        path = self.folder / digest.removeprefix("sha256:")
        partial.replace(path)
        return Blob(digest=digest, size_bytes=path.stat().st_size, path=path)

    def image(
        self,
        name: str,
        layers: Sequence[Blob],
        *,
        entrypoint: Sequence[str] = (),
        environment: Sequence[str] = (),
        user: str = "",
    ) -> Image:
        """Bind layers to a name. Uncompressed: so a layer's digest is its diff id too, and importing is a copy."""
        settings = {"Entrypoint": [*entrypoint], "Env": [*environment], "User": user}
        config = self.json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            }
        )
        manifest = self.json(
            {
                "schemaVersion": 2,
                "mediaType": f"{_OCI}.manifest.v1+json",
                "config": _descriptor(config, "config.v1+json"),
                "layers": [_descriptor(layer, "layer.v1.tar") for layer in layers],
            }
        )
        return Image(name=name, manifest=manifest, config=config, layers=tuple(layers))


def archive(images: Sequence[Image], out: IO[bytes], without: Iterable[str] = ()) -> None:
    """Write an OCI archive. Blobs in `without` are left out: the receiver has them already."""
    skipped = set(without)
    with tarfile.open(fileobj=out, mode="w|") as tar:
        _add_bytes(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        manifests = [
            _descriptor(image.manifest, "manifest.v1+json") | {"annotations": _names(image.name)} for image in images
        ]
        _add_bytes(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
        for image in images:
            for blob in (image.manifest, image.config, *image.layers):
                if blob.digest not in skipped:
                    skipped.add(blob.digest)
                    _add_file(tar, blob.path, f"blobs/{blob.digest.replace(':', '/')}", 0o644)


def _names(name: str) -> dict[str, str]:
    """By which containerd, and skopeo and others, find an image in an archive."""
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}


def _descriptor(blob: Blob, kind: str) -> dict[str, object]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": blob.digest, "size": blob.size_bytes}


class _Hashing(io.RawIOBase):
    """A write-only file that hashes what goes through."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    match entry:
        case Tree():
            _add_tree(tar, entry)
        case File(source=source, target=target, mode=mode):
            _add_file(tar, source, target.lstrip("/"), mode)
        case Text(content=content, target=target, mode=mode):
            _add_bytes(tar, target.lstrip("/"), content.encode(), mode)
        case Folder(target=target, mode=mode):
            tar.addfile(_info(target.lstrip("/"), tarfile.DIRTYPE, mode))
        case Link(target=target, to=to):
            info = _info(target.lstrip("/"), tarfile.SYMTYPE, 0o777)
            info.linkname = to
            tar.addfile(info)


def _add_tree(tar: tarfile.TarFile, tree: Tree) -> None:
    for path in sorted(tree.source.rglob("*")):
        relative = path.relative_to(tree.source).as_posix()
        if tree.leave_out(relative):
            continue
        info = tar.gettarinfo(path, arcname=f"{tree.target.strip('/')}/{relative}".lstrip("/"))
        if info is None or not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
            continue
        info.mtime, info.uname, info.gname = 0, "", ""
        if not tree.keep_owners:
            info.uid = info.gid = 0
        if info.isfile():
            with path.open("rb") as file:
                tar.addfile(info, file)
        else:
            tar.addfile(info)


def _add_file(tar: tarfile.TarFile, source: Path, target: str, mode: int) -> None:
    info = _info(target, tarfile.REGTYPE, mode)
    info.size = source.stat().st_size
    with source.open("rb") as file:
        tar.addfile(info, file)


def _add_bytes(tar: tarfile.TarFile, target: str, content: bytes, mode: int = 0o644) -> None:
    info = _info(target, tarfile.REGTYPE, mode)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _info(target: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(target)
    info.type, info.mode = kind, mode
    return info
