from __future__ import annotations

import csv
import errno
import importlib
import json
import math
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
from blemish.cli.evaluate import estimated_n_clusters
from blemish.cli.options import RunOptions
from blemish.config.schema import Config
from blemish.errors import ConfigError, InputError, OutputError
from blemish.evaluation import (
    SCORES,
    Evaluation,
    LabeledSet,
    PixelScores,
    RunScores,
    clustering_scores,
    evaluate,
    image_auroc,
    load_dataset,
    mean_over_sets,
    score,
    summarize,
)
from blemish.evaluation.tables import document, format_score, markdown, rows, table
from blemish.evaluation.write import claim_folder, write_files
from blemish.results import Result, Skipped
from blemish.synthetic.demo import make_demo
from helpers.command_line import blemish
from helpers.reference_metrics import slow_aupro, slow_auroc, slow_average_precision

FAST = {"image.size": 64, "localization.sample_images": 8}


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


Scene = tuple[LabeledSet, list[np.ndarray], list[np.ndarray]]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Normal images, one type with masks and one without, and maps at the size of the images."""
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


def test_scores_agree_with_slow_twins_and_pixel_scores_leave_out_types_without_masks(scene: Scene) -> None:
    data, maps, masks = scene
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


def test_a_coarse_map_is_scored_at_the_size_of_the_image(tmp_path: Path) -> None:
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


def test_images_that_the_run_skipped_are_in_no_score(scene: Scene) -> None:
    data, maps, _ = scene
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


def test_evaluation_agrees_with_a_direct_run_and_repeats_exactly(demo: Path) -> None:
    data = load_dataset(demo)
    config = Config.from_values(FAST)
    found = evaluate(data, config, seeds=[3, 4])
    again = evaluate(data, config, seeds=[3, 4])
    assert [run.scores for run in found.runs] == [run.scores for run in again.runs]
    assert found.n_clusters == len(data.classes)
    assert found.n_clusters_from_labels
    direct = pipeline.run(data.paths, config.updated(seed=4, n_clusters=found.n_clusters))
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


def test_the_number_of_groups_is_given_estimated_or_the_number_of_classes(demo: Path) -> None:
    data = load_dataset(demo)
    two = evaluate(data, Config.from_values(FAST | {"n_clusters": 2}))
    assert (two.n_clusters, two.n_clusters_from_labels, two.runs[0].groups) == (2, False, 2)
    blind = evaluate(data, Config.from_values(FAST), n_clusters="auto")
    assert (blind.n_clusters, blind.n_clusters_from_labels) == ("auto", False)
    with pytest.raises(ConfigError, match="seed"):
        evaluate(data, seeds=[])
    with pytest.raises(InputError, match="image"):
        evaluate(data.take([]))


class Gray:
    """A backbone of four channels without weights."""

    name, strides, channels, digest = "gray", (8,), {8: 4}, "0"

    def __call__(self, rgb: torch.Tensor) -> dict[int, torch.Tensor]:
        small = torch.nn.functional.avg_pool2d(rgb, 8, ceil_mode=True)
        return {8: torch.cat([small, small[:, :1] ** 2], 1)}


def test_a_given_backbone_replaces_the_one_in_the_settings(demo: Path) -> None:
    data = load_dataset(demo)
    gray = evaluate(data, Config.from_values(FAST), backbone=Gray()).runs[0]
    assert gray.info["backbone"] == "gray"
    assert gray.scores != evaluate(data, Config.from_values(FAST)).runs[0].scores
    same = evaluate(data, Config.from_values(FAST), backbone=load_backbone("embedded")).runs[0]
    assert same.scores == evaluate(data, Config.from_values(FAST)).runs[0].scores


def test_summary_of_scores_skips_nan() -> None:
    one = summarize([0.2, math.nan, 0.6, 0.4])
    assert (one.mean, one.low, one.high, one.count) == (pytest.approx(0.4), 0.2, 0.6, 3)
    assert one.deviation == pytest.approx(math.sqrt((0.04 + 0.04) / 2))
    assert math.isnan(summarize([0.3]).deviation)
    assert math.isnan(summarize([math.nan]).mean)


def test_tables_and_files_hold_the_scores_of_all_sets_and_seeds(demo: Path, tmp_path: Path) -> None:
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


def test_scores_are_never_rounded_up_to_perfect() -> None:
    assert [format_score(v) for v in (1.0, 0.9999999, 0.9991, 0.9986, 0.0)] == [
        "1.000",
        "0.999",
        "0.999",
        "0.999",
        "0.000",
    ]
    assert table(["a", "long"], [["bbb", "1"]]).splitlines()[0] == "| a   | long |"


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    text = table(["class"], [["bad\x1b[31m\x07\nname|x"]])
    assert text.replace("\n", "").isprintable()
    assert "\\x1b[31m\\x07 name\\|x" in text
    folder = tmp_path / "set\x1b[2J"
    write_scene(folder, {})
    assert load_dataset(folder).name.isprintable()


def test_the_command_writes_what_it_prints_and_takes_a_folder_or_its_csv_alike(demo: Path, tmp_path: Path) -> None:
    options = ["--size", 64, "--set", "localization.sample_images=8", "--limit", 8, "--seed", 5, "--seeds", 2]
    done = blemish("evaluate", demo, demo / "truth/labels.csv", *options, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2/2: Scoring (8)" in done.stderr
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert [run["seed"] for run in stored["sets"][0]["runs"]] == [5, 6]
    first, second = stored["sets"]
    assert first["scores"] == second["scores"]  # the same set, given as a folder and as a CSV file
    assert first["images"] == 8
    assert len(first["classes"]) == len(load_dataset(demo).classes)
    assert first["n_clusters_from_labels"]
    assert (tmp_path / "out/evaluation.md").read_text() in done.stdout
    blind = blemish("evaluate", demo, *options, "--n-clusters", "auto", "--out", tmp_path / "out", "--quiet")
    assert blind.returncode == 0, blind.stderr
    assert blind.stderr == ""
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["sets"][0]["n_clusters"] == "auto"


def test_a_folder_that_refuses_files_is_an_error_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(OutputError, match=r"out: cannot be written \(Permission denied\); check its permissions"):
        claim_folder(tmp_path / "out", "evaluation", [])


def test_the_table_is_printed_even_if_its_files_cannot_be_written(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("blemish.evaluation.write.write_files", full)
    options = ["--size", "64", "--set", "localization.sample_images=8", "--limit", "8", "--quiet"]
    for command in (["evaluate", str(demo)], ["study", "weighting", str(demo)]):
        done = CliRunner().invoke(app, [*command, *options, "--out", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert "the disk is full" in done.stderr
        assert "image AUROC" in done.stdout


def test_finished_runs_survive_an_interruption(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("blemish.evaluation.evaluate")  # the package has a function of that name
    real, left = module.run_and_score, iter(range(5))

    def stopped(*args: object, **others: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*args, **others)

    monkeypatch.setattr(module, "run_and_score", stopped)
    options = ["--size", "64", "--set", "localization.sample_images=8", "--limit", "8", "--quiet", "--seeds", "3"]
    sets = [str(demo / "truth/labels.csv"), str(demo)]
    done = CliRunner().invoke(app, ["evaluate", *sets, *options, "--out", str(tmp_path / "out")])
    assert done.exit_code == 130
    stored = json.loads((tmp_path / "out/evaluation.json").read_text())["sets"]
    assert [[run["seed"] for run in one["runs"]] for one in stored] == [[0, 1, 2], [0, 1]]
    assert (tmp_path / "out/evaluation.md").read_text() in done.stdout
    assert len((tmp_path / "out/evaluation.csv").read_text().splitlines()) == 6


def test_only_the_command_line_and_the_environment_ask_for_an_estimated_number_of_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def groups(flag: str | None, assignments: list[str] | None, **values: object) -> str | None:
        return estimated_n_clusters(Config.from_values(values), RunOptions({"assignments": assignments}), flag)

    assert groups(None, None, n_clusters="auto") is None  # as a file of `blemish config` has it
    assert groups("auto", None, n_clusters="auto") == "auto"
    assert groups("4", None, n_clusters=4) is None
    assert groups(None, ["seed=3", "n_clusters = auto"], n_clusters="auto") == "auto"
    monkeypatch.setenv("BLEMISH_N_CLUSTERS", "auto")
    assert groups(None, None, n_clusters="auto") == "auto"


def test_usage_mistakes_are_one_line_before_any_run(demo: Path, tmp_path: Path) -> None:
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


def write_scene(root: Path, masks: dict[str, np.ndarray], size: tuple[int, int] = (32, 32)) -> LabeledSet:
    """Four defects ``hole/0.png`` ... with the given masks and four normal images, all of one texture."""
    rng = np.random.default_rng(7)
    for name in [f"{label}/{i}.png" for label in ("good", "hole") for i in range(4)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(root / name)
    for stem, values in masks.items():
        (root / "masks/hole").mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / "masks/hole" / f"{stem}.png")
    return load_dataset(root)


def random_maps(data: LabeledSet, size: tuple[int, int] = (32, 32)) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [rng.random(size, dtype=np.float32) for _ in data.paths]


def scored(data: LabeledSet, maps: list[np.ndarray]) -> RunScores:
    sizes = [(32, 32)] * len(data)
    return score(result_of(data, maps, [0, 0, 0, 0, 1, 1, 1, 1], sizes), data)


def test_unusable_masks_leave_their_images_out_of_the_pixel_scores_alone(tmp_path: Path) -> None:
    square = np.zeros((32, 32), np.uint8)
    square[4:12, 4:20] = 255
    good = {str(i): np.roll(square, 3 * i, 0) for i in range(4)}
    bad = {**good, "1": np.pad(square, ((0, 19), (0, 0)))}
    whole, part = write_scene(tmp_path / "whole", good), write_scene(tmp_path / "part", bad)
    (tmp_path / "part/masks/hole/2.png").write_bytes(b"no picture")
    (tmp_path / "part/masks/hole/3.png").unlink()
    maps = random_maps(whole)
    found = scored(load_dataset(tmp_path / "part"), maps)
    names = [Path(one.path).relative_to(tmp_path / "part").as_posix() for one in found.left_out]
    assert names == ["masks/hole/1.png", "masks/hole/2.png", "hole/3.png"]
    assert "the mask is 51 x 32, its image 32 x 32" in found.left_out[0].reason
    assert part.labels == whole.labels
    only_first = [0, 1, 2, 3, 4]
    expected = PixelScores()
    for i in only_first:
        expected.update(maps[i], good["0"] if i == 4 else None)
    assert {name: found.scores[name] for name in expected.scores()} == expected.scores()
    complete = scored(whole, maps)
    for name in ("nmi", "ari", "f1", "purity", "image_auroc", "image_ap"):
        assert found.scores[name] == complete.scores[name]
    assert complete.left_out == []


def test_ignored_pixels_are_in_no_pixel_score_and_class_numbers_read_like_0_and_255(tmp_path: Path) -> None:
    square = np.zeros((32, 32), np.uint8)
    square[4:12, 4:20] = 1
    rim = np.zeros((32, 32), bool)
    rim[2:14, 2:22] = True
    rim &= square == 0
    plain = write_scene(tmp_path / "plain", {str(i): square * 255 for i in range(4)})
    classes = write_scene(tmp_path / "classes", {str(i): square * (1 + i) for i in range(4)})
    ignoring = write_scene(tmp_path / "ignoring", {str(i): np.where(rim, 255, square) for i in range(4)})
    maps = random_maps(plain)
    assert scored(classes, maps).scores == scored(plain, maps).scores
    found = scored(ignoring, maps)
    assert found.ignored_pixels == 4 * rim.sum()
    low = [np.where(rim, 0, m) if i > 3 else m for i, m in enumerate(maps)]
    high = [np.where(rim, 1, m) if i > 3 else m for i, m in enumerate(maps)]
    for changed in (low, high):
        other = scored(ignoring, changed).scores
        assert all(other[name] == found.scores[name] for name in ("pixel_auroc", "pixel_ap", "aupro"))


def test_tables_count_and_name_what_pixel_scores_leave_out(tmp_path: Path) -> None:
    square = np.zeros((32, 32), np.uint8)
    square[4:12, 4:20] = 1
    masks = {"0": square, "1": np.where(np.eye(32) > 0, 255, square).astype(np.uint8), "2": square, "3": square[:20]}
    data = write_scene(tmp_path, masks)
    run = scored(data, random_maps(data))
    one = Evaluation("holes", {"good": 4, "hole": 4}, 2, True, 0, [run, run])
    text = markdown([one])
    assert text.count("masks/hole/3.png: the mask is 20 x 32, its image 32 x 32") == 1
    assert "1 image without a usable mask" in text
    ignored = int((masks["1"] == 255).sum())
    assert f"{ignored} pixels in no pixel score" in text
    assert [(row["left_out"], row["ignored_pixels"]) for row in rows([one])] == [(1, ignored)] * 2
    assert document([one])["sets"][0]["left_out"] == 1


def test_classes_without_a_readable_image_are_no_groups(demo: Path, tmp_path: Path) -> None:
    data = load_dataset(demo)
    damaged = []
    for name in ("empty", "text", "cut"):
        content = {"empty": b"", "text": b"no picture", "cut": data.paths[0].read_bytes()[:500]}[name]
        (tmp_path / f"{name}.png").write_bytes(content)
        damaged.append(tmp_path / f"{name}.png")
    worse = LabeledSet(
        "worse",
        [*damaged, *data.paths],
        ["lost", "lost", data.labels[0], *data.labels],
        [None] * (3 + len(data)),
    )
    found = evaluate(worse, Config.from_values(FAST))
    assert found.n_clusters == len(data.classes) >= found.runs[0].groups
    assert found.unreadable_classes == ["lost"]
    assert len(found.runs[0].skipped) == 3
    assert rows([found])[0]["classes"] == len(data.classes)
    assert "no image of the class lost could be read" in markdown([found])
