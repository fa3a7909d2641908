"""What reaches the terminal: progress, summary and errors, also where a terminal, a pipe or a disk does not cooperate."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.cli.shared import Guard
from blemish.errors import InputError
from blemish.runtime.progress import Stage
from blemish.runtime.terminal import STAGE_TEXT

BLEMISH = [sys.executable, "-m", "blemish"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

INTERRUPTED = """
import importlib.abc, os, runpy, signal, sys

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
module = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupt())
runpy.run_module("blemish", run_name="__main__", alter_sys=True)
"""
"""Runs the command line with the arguments after the first, and interrupts it when that module is imported."""


def run(*args: object, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*BLEMISH, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environ})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, and a file that cannot be read whose name would clear a terminal."""
    place = tmp_path_factory.mktemp("images")
    for i in range(5):
        pixels = np.random.default_rng(i).integers(60, 120, (64, 72), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")
    (place / "bad\x1b[2J\nname\udcff.png").write_bytes(b"x")
    return place


def small_run(folder: Path, out: Path) -> list[str]:
    options = ["--size", "64", "--set", "localization.sample_images=4", "--no-cache"]
    return ["run", str(folder), "--out", str(out), *options]


def test_every_stage_has_a_text() -> None:
    assert set(STAGE_TEXT) == set(Stage)
    assert len(set(STAGE_TEXT.values())) == len(Stage)


def test_progress_and_skipped_files_go_to_stderr_and_the_summary_to_stdout(folder: Path, tmp_path: Path) -> None:
    done = run(*small_run(folder, tmp_path / "out"))
    assert done.returncode == 3
    told = [line.rpartition(" (")[0] for line in done.stderr.splitlines()]
    stages = [text for text in STAGE_TEXT.values() if text in told]
    assert stages[0] == STAGE_TEXT[Stage.READ]
    assert stages[-1] == STAGE_TEXT[Stage.OUTPUT]
    assert {STAGE_TEXT[Stage.ANOMALY_MAPS], STAGE_TEXT[Stage.CLUSTERING]} < set(stages)
    assert [line for line in told if line in stages] == stages
    assert done.stdout.startswith("5 images, ")
    assert "  1 file could not be read" in done.stdout
    skipped = [line for line in done.stderr.splitlines() if r"bad\x1b[2J\nname\udcff.png" in line]
    assert len(skipped) == 1
    assert skipped[0].startswith("skipped ")
    assert "\x1b" not in done.stderr + done.stdout


def test_a_run_ends_well_if_nobody_reads_its_output(folder: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full:
        done = subprocess.run([*BLEMISH, *small_run(folder, tmp_path / "out")], stdout=writer, stderr=full, check=False)
    os.close(writer)
    assert done.returncode == 3
    assert (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize("args", [["config"], ["--help"], ["--version"]])
def test_a_closed_pipe_is_no_error(args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*BLEMISH, *args], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("args", [["config"], ["--version"]])
def test_a_full_disk_below_stdout_is_one_line(args: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*BLEMISH, *args], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("blemish: ")
    assert "space" in done.stderr


@pytest.mark.parametrize("module", ["typer", "blemish.cli.run", "pydantic", "torch"])
def test_an_interruption_during_the_imports_is_one_line(module: str, tmp_path: Path) -> None:
    args = [module, "run", str(tmp_path), "--out", str(tmp_path / "out"), "--threads", "1"]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr in ("blemish: interrupted\n", "")


@pytest.mark.parametrize("threads", ["1000000", "0", "-1", "1025"])
def test_an_absurd_number_of_threads_is_refused(threads: str, tmp_path: Path) -> None:
    done = run("run", tmp_path, "--out", tmp_path / "out", "--threads", threads)
    assert done.returncode == 2
    assert done.stderr.startswith("blemish: number of threads is")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("flag", "key"), [("size", "image.size"), ("seed", "seed"), ("n-clusters", "n_clusters")])
@pytest.mark.parametrize("value", ["abc", "1.5", "-1", "true", "9" * 6000, "x" * 6000])
def test_a_wrong_flag_is_one_short_line(flag: str, key: str, value: str, tmp_path: Path) -> None:
    done = run("run", tmp_path, "--out", tmp_path / "out", f"--{flag}={value}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"blemish: --{flag}: {key}")
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 200


def test_a_locale_without_unicode_shows_escapes(tmp_path: Path) -> None:
    done = run("config", "--set", "image.size=3", "--config", tmp_path / "\u00fc.toml", **ASCII)
    assert done.returncode == 2
    assert done.stderr.startswith("blemish: ")
    assert done.stderr.isascii()
    (tmp_path / "c.toml").write_text('cache.folder = "/\u00fc\u20ac"\n', encoding="utf-8")
    done = run("config", "--config", tmp_path / "c.toml", **ASCII)
    assert done.returncode == 0
    assert tomllib.loads(done.stdout)["cache"]["folder"] == "/\u00fc\u20ac"


def test_messages_of_errors_are_printed_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    with pytest.raises(typer.Exit) as end, Guard(False):
        raise InputError("no such folder: a\nb\x1b[31m")
    assert end.value.exit_code == 2
    assert capsys.readouterr().err == "blemish: no such folder: a\\nb\\x1b[31m\n"
    with pytest.raises(typer.Exit) as end, Guard(False):
        raise RuntimeError("x")
    assert end.value.exit_code == 1
    assert capsys.readouterr().err == "blemish: unexpected RuntimeError: x (--verbose shows where)\n"
