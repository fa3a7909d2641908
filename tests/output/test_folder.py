from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

from blemish.errors import OutputError
from blemish.output import prepare_output, write_outputs, write_report
from helpers.files import digests
from helpers.results import make_result

NOT_ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the administrator"
)


def old_results(out: Path) -> dict[str, str]:
    """Complete results in a folder, with a file and a folder of the user's beside them."""
    write_outputs(make_result(6, (2,)), out, report=True)
    (out / "notes.txt").write_text("mine")
    (out / "maps" / "kind-0" / "mine.tiff").write_text("mine")
    return digests(out)


def test_second_run_replaces_the_first_and_keeps_other_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    old_results(out)
    write_outputs(make_result(1, (), paths=["other.png"]), out)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in out.rglob("*.tiff")) == ["mine.tiff", "other.tiff"]
    assert not (out / "masks" / "kind-0").exists()
    assert not (out / "report.html").exists()


def test_files_and_folders_of_two_runs_may_exchange_their_names(tmp_path: Path) -> None:
    for first, second in (("a.tiff/b.png", "a.png"), ("a.png", "a.tiff/b.png"), ("a/b.png", "a.png")):
        out = tmp_path / str(len(os.listdir(tmp_path)))
        for path in (first, second):
            written = write_outputs(make_result(1, (), paths=[path]), out)
        assert set(digests(out)) == set(json.loads(written.run.read_text())["files"]) - {"report.html", "report.json"}


@pytest.mark.parametrize("stop_at", [0, 3])
def test_interrupted_run_leaves_the_old_results(tmp_path: Path, stop_at: int) -> None:
    def stop(done: int, total: int) -> None:
        if done > stop_at:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    before = old_results(out)
    with pytest.raises(KeyboardInterrupt):
        write_outputs(make_result(seed=1), out, progress=stop)
    assert digests(out) == before
    with pytest.raises(KeyboardInterrupt):
        write_outputs(make_result(seed=1), tmp_path / "new" / "out", progress=stop)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_disk_errors_name_the_file_and_leave_the_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(stream: io.BufferedIOBase, *_: object, **__: object) -> None:
        stream.write(b"half")
        raise OSError(code, os.strerror(code))

    out = tmp_path / "out"
    before = old_results(out)
    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(OutputError, match=r"000\.tiff: cannot be written \(.+\); .+") as caught:
        write_outputs(make_result(seed=1), out)
    assert "\n" not in str(caught.value)
    assert digests(out) == before


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from blemish.output import write_outputs
from helpers.results import loader, make_result
wide = np.random.default_rng(0).random((12, 3000), np.float32)
result = make_result(size=(400, 600), grid=2, **({"descriptors": wide} if sys.argv[4] == "wide" else {}))
limit = int(sys.argv[3])
maps, overlays, report = sys.argv[5:8]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
write_outputs(result, sys.argv[1], load_image=loader(result), maps=maps, overlays=bool(int(overlays)), report=bool(int(report)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of the system")
@pytest.mark.parametrize(
    ("name", "limit", "descriptors", "maps", "overlays"),
    [
        ("images.csv", 900, "narrow", "none", 0),
        ("images.parquet", 2_000, "narrow", "none", 0),
        ("descriptors.npy", 20_000, "wide", "none", 0),
        ("000.tiff", 10_000, "narrow", "feature", 1),
        ("000.tiff", 10_000, "narrow", "image", 0),
        ("000.jpg", 10_000, "narrow", "none", 1),
        ("report.html", 50_000, "narrow", "none", 0),
    ],
)
def test_every_writer_reports_a_refused_byte_and_leaves_the_old_results(
    tmp_path: Path, name: str, limit: int, descriptors: str, maps: str, overlays: int
) -> None:
    out = tmp_path / "out"
    before = old_results(out)
    arguments = map(
        str, (out, Path(__file__).parents[1], limit, descriptors, maps, overlays, int(name == "report.html"))
    )
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=False)
    told = rf"OutputError: .*/{name}: cannot be written \(File too large\); raise the limit"
    assert re.search(told, done.stderr), done.stderr
    assert digests(out) == before


def test_foreign_folders_are_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    for marker in (None, "[]", '{"schema": "other"}', "{", "[" * 100_000):
        if marker is not None:
            (tmp_path / "run.json").write_text(marker)
        before = digests(tmp_path)
        with pytest.raises(OutputError, match="not made by blemish"):
            prepare_output(tmp_path)
        assert digests(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_with_our_names_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    (tmp_path / ".blemish-files").symlink_to("/dev/zero")
    with pytest.raises(OutputError, match="not made by blemish"):
        prepare_output(tmp_path)


def test_file_in_the_way_and_input_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("file", "broken"):
        with pytest.raises(OutputError, match="is a file"):
            prepare_output(tmp_path / name)
    with pytest.raises(OutputError, match="cannot be written"):
        prepare_output(tmp_path / "file" / "below")
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for inside in (photos, photos / "out", tmp_path / "link" / "out", tmp_path / "x" / ".." / "photos"):
        with pytest.raises(OutputError, match="input folder"):
            prepare_output(inside, photos)
    assert not list(photos.iterdir())
    with prepare_output(tmp_path / "photos-out", photos) as folder:
        assert folder.root.is_dir()
    assert not (tmp_path / "photos-out").exists()


@pytest.mark.parametrize("name", ["x" * 256, "d/" * 1500, "a\0b", "\ud800", "deep/" * 900 + "x"])
def test_names_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"; choose .*folder|--out") as caught:
        prepare_output(name)
    assert len(str(caught.value)) < 600
    assert not list(tmp_path.iterdir())


@NOT_ROOT
def test_folders_without_permission_are_refused_before_the_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_results(out)
    for folder in (out, out / "maps" / "kind-0"):
        folder.chmod(0o500)
        try:
            with pytest.raises(OutputError, match="cannot be written"):
                prepare_output(out)
        finally:
            folder.chmod(0o700)
        assert digests(out) == before


def test_list_from_elsewhere_cannot_remove_other_files(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "elsewhere"
    other.mkdir()
    write_outputs(make_result(1, ()), out)
    victims = [tmp_path / "victim.tiff", other / "a.tiff", out / "notes.txt", out / "mine" / "a.tiff"]
    (out / "mine").mkdir()
    for victim in victims:
        victim.write_text("keep")
    (out / "masks" / "linked").symlink_to(other)
    names = ["../victim.tiff", str(victims[0]), "maps/../../victim.tiff", "masks/linked/a.png", "notes.txt"]
    names += ["mine/a.tiff", "maps", "maps/\0.tiff"]
    run = json.loads((out / "run.json").read_text())
    (other / "a.png").write_text("keep")
    (out / "run.json").write_text(json.dumps({**run, "files": [*run["files"], *names, 7]}))
    write_outputs(make_result(1, (), paths=["new.png"]), out)
    assert [v.read_text() for v in [*victims, other / "a.png"]] == ["keep"] * (len(victims) + 1)


def test_unlisted_file_in_the_way_is_refused_before_the_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_outputs(make_result(1, (), paths=["a.png"]), out)
    run = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**run, "files": ["run.json", "maps/a.tiff", "masks/a.png"]}))
    with pytest.raises(OutputError, match=r"descriptors\.npy: is in the way"):
        prepare_output(out)
    assert (out / "images.csv").stat().st_size > 0


def test_unlisted_map_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_outputs(make_result(1, (), paths=["a.png"]), out)
    (out / "maps" / "b.tiff").write_text("mine")
    before = digests(out)
    with pytest.raises(OutputError, match=r"b\.tiff: is in the way"):
        write_outputs(make_result(1, (), paths=["b.png"]), out)
    assert digests(out) == before


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_outputs(make_result(1, (), paths=["a.png"]), out, report=True)
    secret = elsewhere / "secret"
    secret.write_text("keep")
    for name in ("images.csv", "images.csv.partial", "report.html", "run.json.partial", "maps/a.tiff"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(secret)
    result = make_result(1, (), paths=["a.png"])
    write_outputs(result, out)
    write_report(result, out)
    assert secret.read_text() == "keep"
    assert not (out / "images.csv").is_symlink()
    for name in ("maps", "overlays"):
        linked = tmp_path / f"out-{name}"
        write_outputs(result, linked, maps="none")
        (linked / name).symlink_to(elsewhere)
        with pytest.raises(OutputError, match="not a folder"):
            prepare_output(linked)
    assert os.listdir(elsewhere) == ["secret"]


def test_unfinished_files_are_out_of_reach_and_finished_ones_are_not(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(done: int, total: int) -> None:
        seen.extend(path.stat().st_mode & 0o077 for path in out.iterdir() if path.is_dir())

    out = tmp_path / "out"
    mask = os.umask(0o022)
    try:
        write_outputs(make_result(1, ()), out, progress=look)
    finally:
        os.umask(mask)
    assert seen == [0]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in out.rglob("*"))


def test_second_run_into_the_same_folder_is_told_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_results(out)
    with prepare_output(out) as folder:
        for name in (out, tmp_path / "x" / ".." / "out"):
            with pytest.raises(OutputError, match=f"another run .*process {os.getpid()} "):
                prepare_output(name)
        with pytest.raises(OutputError, match="another run"):
            write_report(make_result(1, ()), out)
        write_outputs(make_result(6, (2,)), folder, report=True)
    after = digests(out)
    assert before.keys() == after.keys()
    write_outputs(make_result(2, ()), out)


HOLD = """
import sys
from blemish.output import prepare_output
sys.path.insert(0, sys.argv[2])
from helpers.results import make_result
from blemish.output import write_outputs
def wait(done, total):
    if done == 2:
        print("waiting", flush=True)
        sys.stdin.read()
with prepare_output(sys.argv[1]) as folder:
    write_outputs(make_result(seed=3), folder, progress=wait)
"""


def test_killed_run_leaves_the_old_results_and_no_lock(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = old_results(out)
    command = [sys.executable, "-c", HOLD, str(out), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "waiting\n"
        with pytest.raises(OutputError, match=f"another run .*process {other.pid} "):
            prepare_output(out)
        other.kill()
    left = digests(out)
    assert {name: left[name] for name in before} == before
    assert set(left) - set(before)
    written = write_outputs(make_result(seed=3), out)
    assert not (out / "report.html").exists()
    listed = set(json.loads(written.run.read_text())["files"]) | {"notes.txt", "maps/kind-0/mine.tiff"}
    assert set(digests(out)) == listed - {"report.html", "report.json"}


def test_run_killed_during_the_exchange_is_incomplete_and_cleaned_up_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, moved = os.replace, []

    def stop(source: Path, target: Path) -> None:
        moved.append(Path(target).name)
        if len(moved) > 6:
            raise KeyboardInterrupt
        replace(source, target)

    out = tmp_path / "out"
    old_results(out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            write_outputs(make_result(seed=1), out)
    assert not (out / "run.json").exists()
    written = write_outputs(make_result(1, (), paths=["new.png"]), out)
    listed = set(json.loads(written.run.read_text())["files"]) | {"notes.txt", "maps/kind-0/mine.tiff"}
    assert set(digests(out)) == listed - {"report.html", "report.json"}


def test_two_runs_at_once_never_mix_their_files(tmp_path: Path) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[2])
from helpers.results import make_result
from blemish.errors import OutputError
from blemish.output import write_outputs
seed = int(sys.argv[3])
try:
    write_outputs(make_result(20 + seed, (5, 5), seed=seed), sys.argv[1])
except OutputError as error:
    sys.exit(str(error))
"""
    alone = {}
    for seed in (1, 2, 3):
        write_outputs(make_result(20 + seed, (5, 5), seed=seed), tmp_path / str(seed))
        alone[seed] = digests(tmp_path / str(seed)) | {"run.json": ""}
    place = str(Path(__file__).parents[1])
    for turn in range(2):
        out = tmp_path / f"out-{turn}"
        runs = {
            seed: subprocess.Popen(
                [sys.executable, "-c", code, str(out), place, str(seed)], stderr=subprocess.PIPE, text=True
            )
            for seed in alone
        }
        told = {seed: run.communicate()[1] for seed, run in runs.items()}
        succeeded = [seed for seed, run in runs.items() if run.returncode == 0]
        assert succeeded
        assert all("another run is writing" in told[seed] for seed in runs if seed not in succeeded)
        assert digests(out) | {"run.json": ""} in [alone[seed] for seed in succeeded]
