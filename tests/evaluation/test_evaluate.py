from __future__ import annotations

import csv
import errno
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from blemish import pipeline
from blemish.backbones import load_backbone
from blemish.cli.app import app
from blemish.cli.evaluate import blind_groups
from blemish.cli.options import RunOptions
from blemish.config.schema import Config
from blemish.errors import ConfigError, InputError, OutputError
from blemish.evaluation import evaluate as blemish_evaluation
from blemish.evaluation.datasets import LabeledSet, load_dataset
from blemish.evaluation.evaluate import SCORES, evaluate, mean_over_sets, score, spread
from blemish.evaluation.metrics import clustering_scores, image_auroc
from blemish.evaluation.tables import claim_folder, document, markdown, rows, shown_score, table, write_files
from blemish.results import Result, Skipped
from blemish.synthetic.demo import make_demo
from helpers.reference_metrics import slow_aupro, slow_auroc, slow_average_precision

FAST = {"image.size": 64, "normality.sample_images": 8}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    make_demo(root, n_images=12, size=64, seed=2)
    return root


def result_of(data: LabeledSet, maps: list[np.ndarray], labels: list[int], sizes: list[tuple[int, int]]) -> Result:
    scores = np.array([m.max() for m in maps], np.float32)
    return Result(
        paths=[p.as_posix() for p in data.paths],
        sizes=np.array(sizes),
        scores=scores,
        maps=maps,
        threshold=0.5,
        is_anomalous=scores > 0.5,
        labels=np.array(labels),
        normal_label=0,
        distances=np.zeros(len(maps), np.float32),
        descriptors=np.zeros((len(maps), 2), np.float32),
    )


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[LabeledSet, list[np.ndarray], list[np.ndarray]]:
    """Three types, one of them without masks, and maps at the size of the images."""
    rng = np.random.default_rng(0)
    shapes = {"good/1": (9, 12), "hole/1": (10, 8), "hole/2": (7, 7), "dye/1": (6, 6)}
    masks, maps = {}, {}
    for name, shape in shapes.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros(shape, np.uint8)).save(path)
        masks[name] = np.zeros(shape, bool)
        if name.startswith("hole"):
            masks[name] = rng.random(shape) < 0.2
            drawing = tmp_path / "masks" / f"{name}.png"
            drawing.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(masks[name].astype(np.uint8) * 255).save(drawing)
        maps[name] = (np.floor(rng.random(shape) * 9 + 4 * masks[name]) / 16).astype(np.float32)
    data = load_dataset(tmp_path)
    names = [f"{p.parent.name}/{p.stem}" for p in data.paths]
    return data, [maps[n] for n in names], [masks[n] for n in names]


def test_scores_agree_with_slow_twins_and_leave_out_types_without_masks(drawn) -> None:
    data, maps, masks = drawn
    result = result_of(data, maps, [2, 0, 1, 1], [m.shape for m in maps])
    found = score(result, data)
    keep = [i for i, label in enumerate(data.labels) if label != "dye"]
    flat = np.concatenate([maps[i].ravel() for i in keep])
    truth = np.concatenate([masks[i].ravel() for i in keep])
    assert found.scores["pixel_auroc"] == pytest.approx(slow_auroc(flat, truth), abs=1e-12)
    assert found.scores["pixel_ap"] == pytest.approx(slow_average_precision(flat, truth), abs=1e-12)
    expected = slow_aupro([maps[i] for i in keep], [masks[i] for i in keep], 0.3)
    assert found.scores["aupro"] == pytest.approx(expected, abs=1e-12)
    assert found.scores["image_auroc"] == slow_auroc(result.scores, data.is_anomalous)
    assert list(found.scores) == list(SCORES)
    assert found.confusion.classes == ["good", "dye", "hole"]
    assert found.confusion.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 2, 0]]
    assert found.confusion.matching == [0, 2, 1]
    assert found.group_names == ["normal", "type 1", "type 2"]
    assert found.scores["f1"] == found.scores["nmi"] == 1


def test_maps_are_scored_at_the_size_of_the_images(tmp_path: Path) -> None:
    """A map of one cell per 8 x 8 pixels whose cells are exactly the defect scores as well as can be."""
    mask = np.zeros((48, 80), np.uint8)
    mask[16:32, 24:48] = 255
    for name, values in {"hole/a.png": mask, "masks/hole/a.png": mask, "good/b.png": mask * 0}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(tmp_path / name)
    data = load_dataset(tmp_path)
    cells = (mask[::8, ::8] > 0).astype(np.float32)
    good, hole = np.zeros_like(cells), cells
    aligned = score(result_of(data, [good, hole], [0, 1], [(48, 80)] * 2), data).scores
    moved = score(result_of(data, [good, np.roll(hole, 1, 0)], [0, 1], [(48, 80)] * 2), data).scores
    transposed = score(result_of(data, [good, hole[::-1]], [0, 1], [(48, 80)] * 2), data).scores
    assert aligned["pixel_auroc"] > 0.995
    assert aligned["pixel_ap"] > 0.95
    assert moved["pixel_ap"] < 0.7
    assert transposed["pixel_ap"] == pytest.approx(aligned["pixel_ap"])  # the defect is symmetric up and down


def test_what_the_run_skipped_is_in_no_score(drawn) -> None:
    data, maps, _ = drawn
    whole = result_of(data, maps, [2, 0, 1, 1], [m.shape for m in maps])
    part = data.take([1, 2, 3])
    seen = replace(
        result_of(part, maps[1:], [0, 1, 1], [m.shape for m in maps[1:]]),
        skipped=[Skipped(data.paths[0].as_posix(), "cut short")],
    )
    found = score(seen, data)
    assert found.scores == score(seen, part).scores
    assert len(found.skipped) == 1
    with pytest.raises(InputError, match="not in"):
        score(whole, part)


def test_a_run_is_scored_as_the_pipeline_found_it(demo: Path) -> None:
    data = load_dataset(demo)
    config = Config.from_values(FAST)
    found = evaluate(data, config, seeds=[3, 4])
    again = evaluate(data, config, seeds=[3, 4])
    assert [run.scores for run in found.runs] == [run.scores for run in again.runs]
    assert found.clusters == len(data.classes)
    assert found.clusters_from_labels
    direct = pipeline.run(data.paths, config.updated(seed=4, clusters=found.clusters))
    expected = clustering_scores(data.labels, direct.labels)
    assert {name: found.runs[1].scores[name] for name in expected} == expected
    assert found.runs[1].scores["image_auroc"] == image_auroc(direct.scores, data.is_anomalous)
    assert 0.5 < found.runs[1].scores["pixel_auroc"] <= 1
    assert all(0 <= value <= 1 for run in found.runs for name, value in run.scores.items() if name != "ari")


def test_the_pipeline_never_sees_a_label(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset(demo)
    given: list[object] = []

    def spy(images: list[Path], config: Config, **others: object) -> Result:
        given.extend([images, config, *others.values()])
        return real(images, config, **others)  # type: ignore[arg-type]

    real = pipeline.run
    monkeypatch.setattr(pipeline, "run", spy)
    shuffled = replace(data, labels=data.labels[::-1], masks=[None] * len(data))
    first, second = (evaluate(one, Config.from_values(FAST)) for one in (data, shuffled))
    assert given[0] == data.paths
    assert first.runs[0].confusion.counts.sum(axis=0).tolist() == second.runs[0].confusion.counts.sum(axis=0).tolist()
    assert math.isnan(second.runs[0].scores["aupro"])


def test_number_of_groups_given_estimated_or_from_the_classes(demo: Path) -> None:
    data = load_dataset(demo)
    two = evaluate(data, Config.from_values(FAST | {"clusters": 2}))
    assert (two.clusters, two.clusters_from_labels, two.runs[0].groups) == (2, False, 2)
    blind = evaluate(data, Config.from_values(FAST), clusters="auto")
    assert (blind.clusters, blind.clusters_from_labels) == ("auto", False)
    with pytest.raises(ConfigError, match="seed"):
        evaluate(data, seeds=[])
    with pytest.raises(InputError, match="image"):
        evaluate(data.take([]))


class Gray:
    """A backbone of four channels without any weights."""

    name, strides, channels, digest = "gray", (8,), {8: 4}, "0"

    def __call__(self, rgb: torch.Tensor) -> dict[int, torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(rgb, 8, ceil_mode=True)
        return {8: torch.cat([small, small[:, :1] ** 2], 1)}


def test_a_backbone_of_the_callers(demo: Path) -> None:
    data = load_dataset(demo)
    gray = evaluate(data, Config.from_values(FAST), backbone=Gray()).runs[0]
    assert gray.info["backbone"] == "gray"
    assert gray.scores != evaluate(data, Config.from_values(FAST)).runs[0].scores
    same = evaluate(data, Config.from_values(FAST), backbone=load_backbone("embedded")).runs[0]
    assert same.scores == evaluate(data, Config.from_values(FAST)).runs[0].scores


def test_spread_by_hand() -> None:
    one = spread([0.2, math.nan, 0.6, 0.4])
    assert (one.mean, one.low, one.high, one.count) == (pytest.approx(0.4), 0.2, 0.6, 3)
    assert one.deviation == pytest.approx(math.sqrt((0.04 + 0.04) / 2))
    assert math.isnan(spread([0.3]).deviation)
    assert math.isnan(spread([math.nan]).mean)


def test_tables_and_files(demo: Path, tmp_path: Path) -> None:
    data = load_dataset(demo)
    found = evaluate(data, Config.from_values(FAST), seeds=[0, 1])
    bare = evaluate(replace(data, name="a|b", masks=[None] * len(data)), Config.from_values(FAST))
    both = [found, bare]
    mean = mean_over_sets(both)
    assert mean["nmi"].mean == pytest.approx((found.summary()["nmi"].mean + bare.summary()["nmi"].mean) / 2)
    assert mean["aupro"].mean == found.summary()["aupro"].mean
    assert mean["aupro"].count == 1
    text = markdown(both)
    assert "a\\|b" in text
    assert "(1 sets)" in text
    assert f"± {found.summary()['nmi'].deviation:.3f}" in text
    write_files(tmp_path, "evaluation", document(both), rows(both), text)
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored["sets"][1]["runs"][0]["scores"]["aupro"] is None
    assert stored["sets"][0]["runs"][1]["scores"]["nmi"] == found.runs[1].scores["nmi"]
    assert stored["sets"][0]["runs"][1]["confusion"]["counts"] == found.runs[1].confusion.counts.tolist()
    lines = list(csv.DictReader((tmp_path / "evaluation.csv").read_text().splitlines()))
    assert [(line["set"], line["seed"]) for line in lines] == [(data.name, "0"), (data.name, "1"), ("a|b", "0")]
    assert float(lines[1]["nmi"]) == found.runs[1].scores["nmi"]
    assert lines[2]["aupro"] == ""
    assert not list(tmp_path.glob("*.partial"))


def test_numbers_are_never_rounded_up_to_perfect() -> None:
    assert [shown_score(v) for v in (1.0, 0.9999999, 0.9991, 0.9986, 0.0)] == [
        "1.000",
        "0.999",
        "0.999",
        "0.999",
        "0.000",
    ]
    assert table(["a", "long"], [["bbb", "1"]]).splitlines()[0] == "| a   | long |"


def blemish(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blemish", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"})


def test_the_command(demo: Path, tmp_path: Path) -> None:
    options = ["--size", 64, "--set", "normality.sample_images=8", "--limit", 8, "--seed", 5, "--seeds", 2]
    done = blemish("evaluate", demo, demo / "truth/labels.csv", *options, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2/2: Scoring (8)" in done.stderr
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert [run["seed"] for run in stored["sets"][0]["runs"]] == [5, 6]
    first, second = stored["sets"]
    assert first["scores"] == second["scores"]  # the same set, found in two ways
    assert first["images"] == 8
    assert len(first["classes"]) == len(load_dataset(demo).classes)
    assert first["clusters_from_labels"]
    assert (tmp_path / "out/evaluation.md").read_text() in done.stdout
    blind = blemish("evaluate", demo, *options, "--clusters", "auto", "--out", tmp_path / "out", "--quiet")
    assert blind.returncode == 0, blind.stderr
    assert blind.stderr == ""
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["sets"][0]["clusters"] == "auto"


def test_a_folder_that_takes_no_file_is_told_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(OutputError, match=r"out: cannot be written \(Permission denied\); check its permissions"):
        claim_folder(tmp_path / "out", "evaluation", [])


def test_the_table_is_shown_if_its_files_cannot_be_written(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("blemish.evaluation.tables.write_files", full)
    options = ["--size", "64", "--set", "normality.sample_images=8", "--limit", "8", "--quiet"]
    for command in (["evaluate", str(demo)], ["study", "weighting", str(demo)]):
        done = CliRunner().invoke(app, [*command, *options, "--out", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert "the disk is full" in done.stderr
        assert "image AUROC" in done.stdout


def test_runs_that_are_done_survive_an_interruption(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = blemish_evaluation.run_and_score, iter(range(5))

    def stopped(*args: object, **others: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*args, **others)

    monkeypatch.setattr(blemish_evaluation, "run_and_score", stopped)
    options = ["--size", "64", "--set", "normality.sample_images=8", "--limit", "8", "--quiet", "--seeds", "3"]
    sets = [str(demo / "truth/labels.csv"), str(demo)]
    done = CliRunner().invoke(app, ["evaluate", *sets, *options, "--out", str(tmp_path / "out")])
    assert done.exit_code == 130
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())["sets"]
    assert [[run["seed"] for run in one["runs"]] for one in stored] == [[0, 1, 2], [0, 1]]
    assert (tmp_path / "out/evaluation.md").read_text() in done.stdout
    assert len((tmp_path / "out/evaluation.csv").read_text().splitlines()) == 6


def test_only_the_command_line_and_the_environment_ask_for_the_blind_number_of_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def groups(flag: str | None, assignments: list[str] | None, **values: object) -> str | None:
        return blind_groups(Config.from_values(values), RunOptions({"assignments": assignments}), flag)

    assert groups(None, None, clusters="auto") is None  # as a file of `blemish config` has it
    assert groups("auto", None, clusters="auto") == "auto"
    assert groups("4", None, clusters=4) is None
    assert groups(None, ["seed=3", "clusters = auto"], clusters="auto") == "auto"
    monkeypatch.setenv("BLEMISH_CLUSTERS", "auto")
    assert groups(None, None, clusters="auto") == "auto"


def test_mistakes_are_one_line_before_any_run(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation.csv").write_text("mine")
    for arguments, words in (
        ([demo, "--out", tmp_path], "evaluation.csv"),
        ([demo, "--out", demo / "images"], "input folder"),
        ([demo, tmp_path / "gone"], "gone"),
        ([demo, "--limit", 2], "raise the limit"),
        ([demo, "--layout", "voc"], "voc"),
    ):
        done = blemish("evaluate", *arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert (tmp_path / "evaluation.csv").read_text() == "mine"
