from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.runtime.lock import FolderLock, FolderLocked


def test_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(FolderLocked) as caught:
        FolderLock(tmp_path)
    assert caught.value.holder.startswith(f"process {os.getpid()} on ")
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())
    FolderLock(tmp_path).release()


def test_lock_ends_with_its_object(tmp_path: Path) -> None:
    FolderLock(tmp_path)
    gc.collect()
    FolderLock(tmp_path).release()


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from blemish.runtime.lock import FolderLock\n"
    code += "lock = FolderLock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(FolderLocked, match=f"process {other.pid} "):
            FolderLock(tmp_path)
        other.kill()
    assert [path.name for path in tmp_path.iterdir()] == [".blemish-lock"]
    FolderLock(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_links_and_other_things_with_its_name_are_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep")
    lock = tmp_path / "folder" / ".blemish-lock"
    lock.parent.mkdir()
    for make in (
        lambda: lock.symlink_to(victim),
        lambda: lock.hardlink_to(victim),
        lambda: os.mkfifo(lock),
        lock.mkdir,
    ):
        make()
        with pytest.raises(OSError):
            FolderLock(lock.parent)
        assert victim.read_text() == "keep"
        assert os.path.lexists(lock)
        lock.rmdir() if lock.is_dir() else lock.unlink()


def test_content_of_a_foreign_lock_file_is_not_repeated(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    (tmp_path / ".blemish-lock").write_text("1 \x1b[31m\n")
    with pytest.raises(FolderLocked, match="another process"):
        FolderLock(tmp_path)
    lock.release()
