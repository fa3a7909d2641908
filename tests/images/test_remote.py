from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from blemish import Config, run
from blemish.config.sections import Image as ImageConfig
from blemish.errors import InputError, MissingDependencyError
from blemish.images import ImageSource, Url, as_place, folder_of, is_set, list_set, locate
from blemish.images.finding import remote
from blemish.synthetic.demo import make_demo
from helpers.fitted import FAST


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images and what is no image."""
    root = tmp_path_factory.mktemp("remote")
    make_demo(root, n_images=8, size=64, seed=5)
    (root / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    (root / "images" / "notes.txt").write_text("words")
    return root / "images"


@pytest.fixture
def bucket(folder: Path) -> Iterator[str]:
    """The same files in a file system in memory, and in a tar file there."""
    system = fsspec.filesystem("memory")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for file in sorted(folder.iterdir()):
            system.pipe(f"/bucket/rolls/{file.name}", file.read_bytes())
            tar.add(file, file.name)
    system.pipe("/bucket/tars/s.tar", stream.getvalue())
    system.pipe("/bucket/rolls2/other.png", b"")
    yield "memory://bucket"
    system.store.clear()


def test_places_are_what_users_write() -> None:
    assert as_place("s3://bucket/rolls/") == Url("s3://bucket/rolls")
    assert as_place("S3://bucket") == Url("s3://bucket")
    assert as_place("file:///data/x%20y.png") == Path("/data/x y.png")
    assert as_place("C://x") == Path("C://x")
    assert as_place("a.png", Url("s3://b/c")) == Url("s3://b/c/a.png")
    assert as_place("/abs/a.png", Path("/here")) == Path("/abs/a.png")
    assert folder_of("s3://b/c") == Url("s3://b/c")
    assert folder_of("s3://b/c/s.tar") == Url("s3://b/c")


def test_all_sources_of_the_same_files_give_the_same_results(folder: Path, bucket: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"rolls/{file.name}")
    config = Config.from_values(FAST | {"image.size": 64, "contrastive.enabled": False})
    whole = run(folder, config)
    sources = (str(tmp_path / "s.tar"), f"{bucket}/rolls", f"{bucket}/tars/s.tar", f"{bucket}/tars", folder.as_uri())
    for source, prefix in zip(sources, ("s.tar/rolls/", "", "s.tar/", "s.tar/", ""), strict=True):
        found = run(source, config)
        assert found.paths == [prefix + path for path in whole.paths], source
        assert [one.path for one in found.skipped] == [f"{prefix}broken.png"]
        assert found.source == (str(folder) if source.startswith("file") else source)
        for name in ("labels", "scores", "descriptors", "is_anomalous"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), f"{source} {name}")
        assert all(np.array_equal(a, b) for a, b in zip(found.maps, whole.maps, strict=True))
    assert os.listdir(tmp_path) == ["s.tar"]


def test_names_lead_back_to_their_objects(bucket: str) -> None:
    for source in (f"{bucket}/rolls", f"{bucket}/tars", f"{bucket}/tars/s.tar"):
        listing = list_set(as_place(source))  # type: ignore[arg-type]
        assert [locate(name, folder_of(source)) for name in listing.names] == listing.images
        assert is_set(Url(source))
    assert not is_set(Url(f"{bucket}/gone"))
    assert ImageSource([f"{bucket}/rolls/{listing.names[1][6:]}"], ImageConfig()).names[0].startswith(bucket)


def test_a_manifest_may_name_addresses(folder: Path, bucket: str, tmp_path: Path) -> None:
    name = sorted(path.name for path in folder.glob("img*"))[0]
    rows = [str(folder / name), f"{bucket}/rolls/{name}", f"{bucket}/rolls/gone.png", f"{bucket}/tars/s.tar/{name}"]
    (tmp_path / "list.csv").write_text("\n".join(["path", *rows]))
    source = ImageSource(tmp_path / "list.csv", ImageConfig())
    assert source.names == sorted({*rows} - {rows[2]})
    assert [one.path for one in source.skipped] == [rows[2]]
    assert "gone.png: no such file" in source.skipped[0].reason
    assert source.originals() == [0, 0, 0]


def test_an_object_that_changes_between_two_sets_is_read_anew(bucket: str) -> None:
    names = ImageSource(f"{bucket}/rolls", ImageConfig()).names
    system = fsspec.filesystem("memory")
    before = ImageSource([f"{bucket}/rolls/{names[0]}"], ImageConfig()).content(0)
    system.pipe(f"/bucket/rolls/{names[0]}", system.cat_file(f"/bucket/rolls/{names[1]}"))
    assert ImageSource([f"{bucket}/rolls/{names[0]}"], ImageConfig()).content(0) != before


def test_what_cannot_be_listed_is_one_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, message in (
        (f"{bucket}/gone", "holds no images; give the address of a folder"),
        (f"{bucket}/list.csv", "a manifest must be a file of this machine"),
        ("nothing://bucket/x", "addresses with nothing:// are not known"),
    ):
        with pytest.raises(InputError, match=message):
            list_set(Url(address))

    def refuse(self: object, path: str, **_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", refuse)
    with pytest.raises(InputError, match=r"may not be read .Access Denied.; check the address and your credentials"):
        list_set(Url(f"{bucket}/rolls"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    remote._connection.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"s3:// need another package .*: pip install 'blemish\[cloud\]'"):
        list_set(Url("s3://bucket/rolls"))


def test_what_was_fetched_last_stays_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RECENT_BYTES", 100)
    recent = remote._Recent()
    for key in range(9):
        recent.put(key, bytes(20))
    recent.put("large", bytes(60))
    assert [key for key in range(9) if recent.get(key)] == [4, 5, 6, 7, 8]
    assert recent.get("large") is None
