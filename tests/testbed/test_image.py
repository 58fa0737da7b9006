"""Images are plain content-addressed files: what goes in comes out, and equal input is never stored or sent twice."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from e2e.testbed.image import File, Folder, Image, Link, Store, Text, Tree, archive


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "blobs")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "sources"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "program").write_text("#!/bin/sh\n")
    (root / "inner" / "program").chmod(0o750)
    (root / "alias").symlink_to("inner/program")
    (root / "secret").write_text("not for the image")
    return root


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_a_layer_holds_files_folders_links_and_text_with_their_modes(store: Store, sources: Path) -> None:
    layer = store.layer(
        [
            Folder(target="/tmp", mode=0o1777),
            File(source=sources / "inner" / "program", target="/bin/program"),
            Text(content="hello", target="/etc/greeting"),
            Link(target="/bin/other", to="program"),
        ]
    )
    found = members(layer.path)
    assert found["tmp"].isdir()
    assert found["tmp"].mode == 0o1777
    assert found["bin/program"].mode == 0o755
    assert found["etc/greeting"].size == 5
    assert found["bin/other"].linkname == "program"


def test_a_tree_belongs_to_root_and_leaves_out_what_is_not_wanted(store: Store, sources: Path) -> None:
    tree = Tree(source=sources, target="/app", leave_out=lambda relative: relative == "secret")
    found = members(store.layer([tree]).path)
    assert set(found) == {"app/alias", "app/inner", "app/inner/program"}
    assert found["app/alias"].issym()
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 0)}


def test_equal_content_gives_the_same_digest_whatever_its_age(store: Store, sources: Path) -> None:
    first = store.layer([Tree(source=sources, target="/app")])
    os.utime(sources / "secret", (1, 1))
    assert store.layer([Tree(source=sources, target="/app")]) == first


def test_changed_content_gives_another_digest(store: Store, sources: Path) -> None:
    first = store.layer([Tree(source=sources, target="/app")])
    (sources / "secret").write_text("changed")
    assert store.layer([Tree(source=sources, target="/app")]).digest != first.digest


def test_no_partial_file_stays_behind(store: Store, sources: Path) -> None:
    store.layer([Tree(source=sources, target="/app")])
    store.json({"a": 1})
    assert not list(store.folder.glob("partial-*"))


def image_of(store: Store, name: str, content: str) -> Image:
    base = store.layer([Text(content="shared", target="/base")])
    own = store.layer([Text(content=content, target="/own")])
    return store.image(name, [base, own], entrypoint=["/run"], environment=["A=b"], user="65532:65532")


def test_an_image_says_how_to_start_and_its_diff_ids_are_its_layers_digests(store: Store) -> None:
    image = image_of(store, "hasgpu.local/x:1", "x")
    config = json.loads(image.config.path.read_text())
    assert config["config"] == {"Entrypoint": ["/run"], "Env": ["A=b"], "User": "65532:65532"}
    assert config["rootfs"]["diff_ids"] == [layer.digest for layer in image.layers]
    manifest = json.loads(image.manifest.path.read_text())
    assert [layer["digest"] for layer in manifest["layers"]] == [layer.digest for layer in image.layers]


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member))}


def test_an_archive_names_its_images_and_every_blob_is_what_its_name_says(store: Store) -> None:
    out = io.BytesIO()
    images = [image_of(store, "hasgpu.local/x:1", "x"), image_of(store, "hasgpu.local/y:1", "y")]
    archive(images, out)
    files = unpack(out.getvalue())
    index = json.loads(files["index.json"])
    named = [entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]]
    assert named == ["hasgpu.local/x:1", "hasgpu.local/y:1"]
    blobs = {name: content for name, content in files.items() if name.startswith("blobs/")}
    assert all(hashlib.sha256(content).hexdigest() == name.split("/")[-1] for name, content in blobs.items())
    # Two manifests, two configurations, two own layers, and the base that both share once.
    assert len(blobs) == 7


def test_an_archive_leaves_out_what_the_receiver_has(store: Store) -> None:
    image = image_of(store, "hasgpu.local/x:1", "x")
    out = io.BytesIO()
    archive([image], out, without=[image.layers[0].digest])
    names = unpack(out.getvalue()).keys()
    assert not any(image.layers[0].digest.endswith(name.split("/")[-1]) for name in names)
    assert any(image.layers[1].digest.endswith(name.split("/")[-1]) for name in names)


def test_pruning_keeps_what_an_image_reaches_and_nothing_else(store: Store) -> None:
    kept, dropped = image_of(store, "hasgpu.local/x:1", "x"), image_of(store, "hasgpu.local/y:1", "y")
    freed_bytes = store.prune([kept])
    assert freed_bytes > dropped.layers[1].size_bytes
    assert all(blob.path.exists() for blob in (kept.manifest, kept.config, *kept.layers))
    assert not dropped.layers[1].path.exists()
