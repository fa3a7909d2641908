from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blemish import FittedModel
from blemish.synthetic.demo import make_demo
from helpers import command_line

FAST = ("--set", "image.size=96", "--set", "contrastive.epochs=1", "--set", "localization.sample_images=12")


def blemish(*arguments: object) -> tuple[int, str, str]:
    done = command_line.blemish(*arguments)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("monday")
    make_demo(root, n_images=16, size=128, seed=2)
    code, out, err = blemish("fit", root / "images", "--model", root / "model", *FAST, "--quiet", "--no-cache")
    assert code == 0, err
    assert "MB)" in out
    return root


def test_fit_name_predict(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "model")
    code, out, _ = blemish("rename", tmp_path / "model", "1=deep, cut")
    assert code == 0
    assert "1: deep, cut" in out
    code, out, err = blemish("predict", tmp_path / "model", place / "images", "--out", tmp_path / "out", "--quiet")
    assert code == 0, err
    assert "deep, cut" in out
    assert "deep, cut" in (tmp_path / "out" / "images.csv").read_text()
    assert (tmp_path / "out" / "report.html").is_file()
    assert FittedModel.load(tmp_path / "out").type_names == {1: "deep, cut"}


def test_results_of_a_run_hold_a_model_unless_turned_off(place: Path, tmp_path: Path) -> None:
    extra = (*FAST, "--quiet", "--no-cache", "--set", "output.overlays=false", "--set", "contrastive.enabled=false")
    assert blemish("run", place / "images", "--out", tmp_path / "a", *extra)[0] == 0
    assert FittedModel.load(tmp_path / "a").counts
    assert blemish("run", place / "images", "--out", tmp_path / "a", *extra, "--set", "output.model=false")[0] == 0
    assert not (tmp_path / "a" / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("predict", "MODEL", "IMAGES", "--out", "OUT", "--set", "image.size=64"),
            "image is decided when a model is fitted",
        ),
        (("predict", "MODEL", "IMAGES", "--out", "OUT", "--roi", "x.png"), "fitted without a region of interest"),
        (("predict", "IMAGES", "IMAGES", "--out", "OUT"), "holds no model"),
        (("predict", "MODEL", "EMPTY", "--out", "OUT", "--quiet"), "no images found"),
        (("predict", "MODEL", "NOWHERE", "--out", "OUT", "--watch"), "is not a folder"),
        (("predict", "MODEL", "IMAGES", "--out", "IMAGES/out", "--watch", "--idle", "0"), "inside the input folder"),
        (("rename", "MODEL", "scratch"), "LABEL=NAME"),
        (("rename", "MODEL", "99=scratch"), "no group 99"),
        (("fit", "IMAGES", "--model", "IMAGES"), "is not empty and holds no model"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    place: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    names = {"MODEL": place / "model", "IMAGES": place / "images", "EMPTY": tmp_path / "empty", "OUT": tmp_path / "out"}
    names["NOWHERE"] = tmp_path / "nowhere"
    given = [str(names.get(one, one)).replace("IMAGES/", f"{place / 'images'}/") for one in arguments]
    code, _, err = blemish(*given)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_watch_writes_a_line_for_each_image_and_goes_on_where_it_was(place: Path, tmp_path: Path) -> None:
    belt, out, images = tmp_path / "belt", tmp_path / "out", sorted((place / "images").iterdir())
    belt.mkdir()
    shutil.copy(images[0], belt)
    (belt / "torn.png").write_bytes(images[1].read_bytes()[:300])
    command = ["predict", place / "model", belt, "--out", out, "--watch", "--idle", "1.5"]
    assert blemish(*command)[0] == 0
    first = [json.loads(line) for line in (out / "watch.jsonl").read_text().splitlines()]
    assert {one["path"] for one in first} == {images[0].name, "torn.png"}
    assert ["error" in one for one in first if one["path"] == "torn.png"] == [True]
    shutil.copy(images[2], belt)
    assert blemish(*command)[0] == 0
    lines = [json.loads(line) for line in (out / "watch.jsonl").read_text().splitlines()]
    assert lines[:2] == first
    assert [one["path"] for one in lines[2:]] == [images[2].name]
    expected = FittedModel.load(place / "model").predict([images[2]])
    assert lines[2]["score"] == pytest.approx(float(expected.scores[0]))
    assert lines[2]["group"] == int(expected.groups[0])
    assert len(lines[2]["regions"]) == len(expected.regions)
    assert lines[2]["milliseconds"] > 0


def test_watch_ends_in_two_seconds_when_it_is_interrupted(place: Path, tmp_path: Path) -> None:
    import signal

    belt = tmp_path / "belt"
    belt.mkdir()
    # a shell that starts the tests in the background leaves SIGINT ignored, and Python then as well
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom blemish.__main__ import main; main()"
    command = [sys.executable, "-c", code, "predict", place / "model", belt, "--out", tmp_path / "out", "--watch"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "Watching" not in process.stderr.readline():
            assert process.poll() is None
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(10) == 130
        finally:
            process.kill()
        assert time.monotonic() - start < 5  # two seconds on a machine that is not busy
        assert "Traceback" not in process.stderr.read()
