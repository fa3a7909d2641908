"""``blemish review`` on a folder of results, and what an export makes of it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blemish.cli.app import app
from blemish.output import write_outputs
from helpers.results import loader, make_result
from helpers.reviews import as_json

PATHS = ["n0", "n1", "a0", "a1", "a2", "b0", "b1"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    result = make_result(2, (3, 2), paths=PATHS)
    return write_outputs(result, tmp_path / "results", report=True, load_image=loader(result)).root


def invoke(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, args)])
    return done.exit_code, done.output


def test_a_saved_file_is_applied_and_exports_use_it(results: Path, tmp_path: Path) -> None:
    table = (results / "images.csv").read_bytes()
    lines = (
        as_json("rename", type=2, name="hole"),
        as_json("move", images=["a0"], to=2),
        as_json("normal", images=["a1"]),
    )
    (tmp_path / "review.jsonl").write_text("\n".join(lines) + "\n")
    code, output = invoke("review", results, "--apply", tmp_path / "review.jsonl")
    assert code == 0, output
    assert "3 new operations" in output
    assert "hole 3" in output
    assert (results / "images.csv").read_bytes() == table
    assert invoke("export", results, "--to", "csv", "--out", tmp_path / "export")[0] == 0
    with (tmp_path / "export" / "images.csv").open() as handle:
        names = {row["path"]: row["cluster_name"] for row in csv.DictReader(handle)}
    assert names["a0"] == names["b0"] == "hole"
    assert names["a1"] == "normal"


def test_mistakes_are_one_line(results: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("no review\n")
    for args in ((results, "--apply", tmp_path / "bad"), (results, "--apply", tmp_path / "none"), (tmp_path / "no",)):
        code, output = invoke("review", *args)
        assert code == 2
        assert len(output.strip().splitlines()) == 1, output
    (results / "report.html").unlink()
    assert "is missing; run again" in invoke("review", results, "--no-browser")[1]


def test_the_server_prints_its_address_and_ends_with_an_interruption(results: Path) -> None:
    command = [sys.executable, "-m", "blemish", "review", str(results), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("Review: ").strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b'<meta name="blemish-review"' in answer.read()
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert "Traceback" not in server.stderr.read()  # type: ignore[union-attr]
    finally:
        server.kill()
        server.communicate()
