from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import normalized_mutual_info_score
from typer.testing import CliRunner

from blemish.cli.app import app
from blemish.cli.options import RunOptions
from blemish.errors import InputError
from helpers.command_line import Done, blemish

FAST = ["--size", "64", "--set", "localization.sample_images=8", "--quiet"]


def images(folder: Path, count: int, same: bool = False) -> Path:
    folder.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(0 if same else i).integers(60, 120, (64, 80), dtype=np.uint8)
        if i % 3 == 1 and not same:
            pixels[20:40, 20:44] = 250
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom blemish.cli.app import app\n"
        "r = CliRunner().invoke(app, ['--help'])\nassert r.exit_code == 0 and 'demo' in r.output, r.output\n"
        "bad = {'torch','numba','sklearn','pydantic','plotly','numpy'} & set(sys.modules)\nassert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["run", "evaluate", "study"])
def test_commands_that_run_the_method_share_their_options(command: str) -> None:
    given = {
        "size": 64,
        "roi": "m.png",
        "seed": 3,
        "device": "cpu",
        "preset": "paper",
        "backbone": "embedded",
        "threads": 1,
        "false_alarms": 0.02,
        "smallest_defect": 12,
    }
    flags = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    given, flags = given | {"rejects": True}, [*flags, "--rejects"]
    seen = {}

    def settings(options: RunOptions, **flags: object) -> None:
        seen.update(options.given)
        raise InputError("far enough")

    places = {"run": ["x", "--out", "y"], "evaluate": ["x"], "study": ["tau", "x", "--out", "y"]}[command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunOptions, "settings", settings)
        done = CliRunner().invoke(app, [command, *places, *flags, "--set", "a=1", "--set", "b=2"])
    assert done.exit_code == 2
    assert "far enough" in done.output
    assert seen == given | {"config": None, "assignments": ["a=1", "b=2"]}


def test_run_twice_gives_equal_files(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", 7)
    for out in ("a", "b"):
        done = blemish("run", folder, "--out", tmp_path / out, "--n-clusters", 3, *FAST)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("7 images, ")
        assert f"Results: {tmp_path / out}; open {tmp_path / out / 'report.html'}" in done.stdout
        warning = json.loads((tmp_path / out / "run.json").read_text())["threshold_warning"]
        assert "7 images are too few" in warning
        assert f"  {warning}\n" in done.stdout
        assert warning in (tmp_path / out / "report.html").read_text()
    for name in ("images.csv", "descriptors.npy", *(f"maps/{p.name}" for p in (tmp_path / "a/maps").iterdir())):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(list((tmp_path / "a/maps").iterdir())) == 7
    assert json.loads((tmp_path / "a/run.json").read_text())["settings"]["n_clusters"] == 3
    assert "<html" in (tmp_path / "a/report.html").read_text()


def test_unreadable_file_is_named_and_the_exit_code_says_so(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", 4)
    (folder / "broken.png").write_bytes(b"x")
    done = blemish("run", folder, "--out", tmp_path / "out", *FAST)
    assert done.returncode == 3
    assert "broken.png" in done.stderr
    assert (tmp_path / "out/run.json").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_images(tmp_path: Path, count: int) -> None:
    done = blemish("run", images(tmp_path / "in", count), "--out", tmp_path / "out", *FAST)
    assert done.returncode == 0, done.stderr


def one_line(done: Done, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    one_line(blemish("run", tmp_path / "empty", "--out", tmp_path / "o1", *FAST), "empty")
    folder = images(tmp_path / "in", 3, same=True)
    one_line(blemish("run", folder, "--out", tmp_path / "o2", "--n-clusters", 9, *FAST), "clusters is 9")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    one_line(blemish("run", folder, "--out", foreign, *FAST), "foreign")
    assert (foreign / "thesis.txt").read_text() == "mine"
    (tmp_path / "c.toml").write_text("[image]\nsizee = 3\n")
    one_line(blemish("run", folder, "--out", tmp_path / "o3", "--config", tmp_path / "c.toml"), "sizee", "size")


def test_identical_images_are_normal(tmp_path: Path) -> None:
    done = blemish("run", images(tmp_path / "in", 4, same=True), "--out", tmp_path / "out", *FAST)
    assert done.returncode == 0, done.stderr
    assert "0 anomalous" in done.stdout
    assert "too few" not in done.stdout


def test_flag_wins_over_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.toml").write_text("seed = 1\nn_clusters = 2\n[image]\nsize = 96\n")
    monkeypatch.setenv("BLEMISH_SEED", "2")
    done = blemish("config", "--config", tmp_path / "c.toml", "--set", "n_clusters=5")
    assert done.returncode == 0, done.stderr
    assert "seed = 2" in done.stdout
    assert "n_clusters = 5" in done.stdout
    assert "size = 96" in done.stdout


def test_demo_says_how_well_it_agrees_with_what_was_drawn(tmp_path: Path) -> None:
    environ = {"BLEMISH_SIZE": "64", "BLEMISH_LOCALIZATION__SAMPLE_IMAGES": "4"}
    done = blemish("demo", "--out", tmp_path / "d", "--images", 8, "--quiet", **environ)
    assert done.returncode == 0, done.stderr
    assert "8 images" in done.stdout
    stated = re.search(r"NMI ([01]\.\d{3}), (\d) groups", done.stdout)
    assert stated is not None, done.stdout
    with (tmp_path / "d/truth/labels.csv").open() as handle:
        truth = {Path(row["path"]).name: row["label"] for row in csv.DictReader(handle)}
    with (tmp_path / "d/results/images.csv").open() as handle:
        found = {Path(row["path"]).name: row["cluster"] for row in csv.DictReader(handle)}
    assert truth.keys() == found.keys()
    names = sorted(truth)
    expected = normalized_mutual_info_score([truth[n] for n in names], [found[n] for n in names])
    assert float(stated[1]) == pytest.approx(expected, abs=6e-4)
    assert int(stated[2]) == len(set(truth.values()))
