from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.config.sections import Image as ImageConfig
from blemish.errors import InputError
from blemish.images import ImageSource, list_set
from blemish.images.finding._tar import read_index


def png(seed: int, size: int = 40) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)).save(stream, "png")
    return stream.getvalue()


def write_tar(
    path: Path,
    files: Sequence[tuple[str, bytes]],
    format: int = tarfile.PAX_FORMAT,
    others: Sequence[tarfile.TarInfo] = (),
) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for one in others:
            tar.addfile(one)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


LONG = "folder/" + "long-name-" * 30 + "é.png"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_images_are_read_where_they_are(tmp_path: Path, format: int) -> None:
    names = ["a.png", "sub/b.PNG", "no-suffix"] + ([LONG] if format != tarfile.USTAR_FORMAT else [])
    files = [(name, png(i)) for i, name in enumerate(names)]
    write_tar(tmp_path / "shard-0001.tar", [*files, ("a.cls", b"3"), ("a.json", b"{}"), (".b.png", png(9))], format)
    source = ImageSource(tmp_path / "shard-0001.tar", ImageConfig())
    assert source.names == sorted(f"shard-0001.tar/{name}" for name in names)
    assert [one.path for one in source.passed_over] == [
        f"shard-0001.tar/{one}" for one in (".b.png", "a.cls", "a.json")
    ]
    for name, content in files:
        expected = np.asarray(Image.open(io.BytesIO(content)), np.float32)[..., None] / np.float32(255)
        np.testing.assert_array_equal(source.full(source.names.index(f"shard-0001.tar/{name}")), expected.repeat(3, 2))
    assert os.listdir(tmp_path) == ["shard-0001.tar"]


def test_every_kind_of_file_is_decoded_from_a_tar_as_from_the_disk(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    (tmp_path / "in").mkdir()
    image = Image.fromarray(values)
    for suffix in ("png", "jpg", "tif", "bmp", "webp", "gif", "jp2", "ppm"):
        image.save(tmp_path / "in" / f"a.{suffix}")
    image.save(tmp_path / "in" / "roll.tif", save_all=True, append_images=[image.rotate(90)])
    files = sorted((tmp_path / "in").iterdir())
    write_tar(tmp_path / "all.tar", [(one.name, one.read_bytes()) for one in files])
    folder, tar = ImageSource(tmp_path / "in", ImageConfig()), ImageSource(tmp_path / "all.tar", ImageConfig())
    assert tar.names == [f"all.tar/{name}" for name in folder.names]
    assert "all.tar/roll.tif#2" in tar.names
    assert [tar.content(i) for i in range(len(tar))] == [folder.content(i) for i in range(len(folder))]
    for i in range(len(folder)):
        np.testing.assert_array_equal(tar.full(i), folder.full(i))
    assert tar.originals() == folder.originals()


def test_links_devices_and_names_that_lead_outside_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    others = [
        special("link.png", tarfile.SYMTYPE, "../secret.png"),
        special("hard.png", tarfile.LNKTYPE, "a.png"),
        special("pipe.png", tarfile.FIFOTYPE),
        special("null.png", tarfile.CHRTYPE),
        special("folder.png", tarfile.DIRTYPE),
    ]
    files = [
        ("a.png", png(2)),
        ("../up.png", png(3)),
        ("/abs.png", png(4)),
        ("x/../../y.png", png(5)),
        ("./b.png", png(6)),
    ]
    write_tar(tmp_path / "s.tar", files, others=others)
    listing = list_set(tmp_path / "s.tar")
    assert listing.names == ["s.tar/a.png", "s.tar/b.png"]
    reasons = {one.path: one.reason for one in listing.passed_over}
    assert {name for name, reason in reasons.items() if "leads outside" in reason} == {
        "s.tar/../up.png",
        "s.tar/abs.png",
        "s.tar/x/../../y.png",
    }
    assert reasons["s.tar/link.png"] == reasons["s.tar/hard.png"] == "a link inside a tar file"
    assert reasons["s.tar/pipe.png"] == reasons["s.tar/null.png"] == "not a regular file"


def test_of_two_files_with_one_name_the_last_counts(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("a.png", png(1, 32)), ("a.png", png(2, 48))])
    source = ImageSource(tmp_path / "s.tar", ImageConfig())
    assert [(one.height, one.width) for one in source.infos] == [(48, 48)]
    assert [one.reason for one in source.passed_over] == ["replaced by a later file of a tar file"]


@pytest.mark.parametrize("end", ["data", "header", "between", "one block"])
def test_a_tar_that_is_cut_short_gives_what_is_readable(tmp_path: Path, end: str) -> None:
    whole = write_tar(tmp_path / "s.tar", [(f"{i}.png", png(i, 64)) for i in range(5)])
    last = read_index(whole, "s.tar").members["4.png"]
    at = {
        "data": last.start + last.size // 2,
        "header": last.start - 100,
        "between": last.start - 512,
        "one block": -(-(last.start + last.size) // 512) * 512 + 512,
    }[end]
    whole.write_bytes(whole.read_bytes()[:at])
    source = ImageSource(whole, ImageConfig())
    readable = 5 if end == "one block" else 4
    assert source.names == [f"s.tar/{i}.png" for i in range(readable)]
    assert [one.path for one in source.skipped] == ["s.tar"] + (["s.tar/4.png"] if end == "data" else [])
    assert f"is cut short or damaged after {readable} files; copy it again" in source.skipped[0].reason


def test_a_damaged_header_ends_the_archive_and_never_the_program(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "s.tar", [(f"{i}.png", png(i)) for i in range(4)])
    content, third = whole.read_bytes(), read_index(whole, "s.tar").members["2.png"].start - 512
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for at in third + rng.integers(0, 512, 4):
            damaged[at] ^= 1 << int(rng.integers(8))
        whole.write_bytes(damaged)
        assert {"0.png", "1.png"} <= set(read_index(whole, "s.tar").members)


@pytest.mark.parametrize("size", [-512, -1024, 2**40])
def test_a_header_that_leads_back_or_far_away_ends_the_archive(tmp_path: Path, size: int) -> None:
    whole = write_tar(tmp_path / "s.tar", [(f"{i}.png", png(i)) for i in range(3)], tarfile.GNU_FORMAT)
    start = read_index(whole, "s.tar").members["1.png"].start - 512
    content = bytearray(whole.read_bytes())
    info = tarfile.TarInfo("1.png")
    info.size = abs(size)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        header[124:136] = b"\xff" + size.to_bytes(11, "big", signed=True)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    content[start : start + 512] = header
    whole.write_bytes(content)
    index = read_index(whole, "s.tar")
    assert list(index.members) == ["0.png"]
    assert index.cut


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; copy it again"),
        (b"no tar" * 200, "is no tar file, or its start is damaged"),
        (b"\x1f\x8b" + bytes(600), "is compressed; unpack it once with gunzip"),
        (bytes(10240), "no images found"),
    ],
)
def test_what_is_no_tar_of_images_is_one_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list_set(tmp_path / "s.tar")
    with pytest.raises(InputError, match="no such file"):
        list_set(tmp_path / "gone.tar")


def test_the_tar_files_of_a_folder_are_read_if_it_holds_no_other_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_tar(tmp_path / "b.tar", [("1.png", png(1)), ("masks/1.png", png(2))])
    write_tar(tmp_path / "sub" / "a.tar", [("1.png", png(3))])
    (tmp_path / "c.tar").write_bytes(b"damaged" * 100)
    (tmp_path / "notes.txt").write_text("words")
    listing = list_set(tmp_path)
    assert listing.names == ["b.tar/1.png", "sub/a.tar/1.png"]
    assert [one.path for one in listing.passed_over] == ["b.tar/masks/1.png", "notes.txt"]
    assert [one.path for one in listing.skipped] == ["c.tar"]
    assert [len(listing.part(i, 2).skipped) for i in (1, 2)] == [1, 0]
    (tmp_path / "loose.png").write_bytes(png(4))
    assert list_set(tmp_path).names == ["loose.png"]


def test_manifests_and_lists_name_files_in_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("x/1.png", png(1)), ("2.png", png(2))])
    (tmp_path / "3.png").write_bytes(png(3))
    (tmp_path / "list.csv").write_text("path\n3.png\ns.tar/x/1.png\ns.tar/gone.png\n")
    source = ImageSource(tmp_path / "list.csv", ImageConfig())
    assert source.names == ["3.png", "s.tar/x/1.png"]
    assert [one.path for one in source.skipped] == ["s.tar/gone.png"]
    assert "holds no complete file gone.png" in source.skipped[0].reason
    names = [f"{tmp_path}/s.tar/2.png", tmp_path / "3.png", f"{tmp_path}/s.tar/gone.png"]
    listed = ImageSource(names, ImageConfig())  # type: ignore[arg-type]
    assert listed.names == [str(name) for name in names[:2]]
    assert len(listed.skipped) == 1


def test_a_tar_that_changes_during_a_run_is_noticed(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [(f"{i}.png", png(i)) for i in range(3)])
    source = ImageSource(tmp_path / "s.tar", ImageConfig())
    write_tar(tmp_path / "s.tar", [(f"{i}.png", png(i + 5)) for i in range(3)])
    with pytest.raises(InputError, match=r"s\.tar/0\.png: was changed while the run was reading it"):
        source.full(0)
    (tmp_path / "s.tar").unlink()
    with pytest.raises(InputError, match=r"s\.tar/1\.png: no such file"):
        source.full(1)
