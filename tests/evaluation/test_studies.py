from __future__ import annotations

import csv
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish import pipeline
from blemish.config.schema import Config
from blemish.errors import InputError, MissingDependencyError
from blemish.evaluation import SCORES, LabeledSet, evaluate, load_dataset, run_and_score
from blemish.evaluation.studies import (
    STUDIES,
    StudyResult,
    StudyRunner,
    data_studies,
    draw_figure,
    method_studies,
    run_study,
    runner,
    study_document,
    study_markdown,
)
from blemish.evaluation.studies.data_studies import draw_contaminated, draw_with_normals
from blemish.output.figures import save_figure
from blemish.synthetic.demo import make_demo
from helpers.command_line import blemish

FAST = {
    "image.size": 64,
    "localization.sample_images": 6,
    "localization.memory_bank.patches_per_image": 32,
    "localization.vae.steps": 5,
    "localization.vae.hidden": 32,
    "localization.vae.latent": 8,
    "contrastive.epochs": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabeledSet:
    root = tmp_path_factory.mktemp("demo")
    make_demo(root, n_images=10, size=64, seed=2)
    return load_dataset(root)


_KNOWN: dict[str, StudyResult] = {}


def pictured(name: str, data: LabeledSet) -> StudyResult:
    """The result of a study of pictures, run once for all tests."""
    if name not in _KNOWN:
        _KNOWN[name] = run_study(name, data, settings())
    return _KNOWN[name]


def settings(**values: object) -> Config:
    return Config.from_values(FAST | {key.replace("__", "."): value for key, value in values.items()})


def test_ablation_has_one_row_per_combination_and_agrees_with_single_runs(data: LabeledSet) -> None:
    found = run_study("ablation", data, settings())
    cells = [(row["localization"], row["contrast"], row["clustering"]) for row in found.rows]
    assert len(cells) == len(set(cells)) == 5 * 2 * 5
    for row, changes in (
        (("nearest neighbors", False, "kmeans"), {"cluster__method": "kmeans"}),
        (
            ("BAL", True, "ward"),
            {
                "localization__method": "vae_fca",
                "features__normalization": "image",
                "cluster__method": "ward",
                "contrastive__enabled": True,
            },
        ),
    ):
        alone = run_and_score(data, settings(**changes).updated(n_clusters=len(data.classes)))[1]
        assert {name: found.rows[cells.index(row)][name] for name in SCORES} == pytest.approx(alone.scores)


def test_equal_settings_are_run_once(data: LabeledSet, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def counting(part: LabeledSet, config: Config, **others: object) -> object:
        ran.append(config.digest() + str(len(part)))
        return run_and_score(part, config, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_and_score", counting)
    run_study("weighting", data, settings(descriptor__weighting="max"), seeds=[0, 1])
    assert len(ran) == len(set(ran)) == 8
    ran.clear()
    study = StudyRunner(data, settings(), None, [0], None, None)
    first = study.run("a", 0, {"cluster.method": Config().cluster.method})
    assert study.run("b", 0, {}) is first
    assert len(ran) == 1


def test_weighting_and_tau_studies_vary_the_weighting_and_the_temperature(
    data: LabeledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = run_study("weighting", data, settings(), seeds=[0, 1])
    assert [(setting["weighting"], scores["nmi"].count) for setting, scores in weights.summary()] == [
        ("thresholded", 2),
        ("softmax", 2),
        ("average", 2),
        ("max", 2),
    ]
    assert len({row["pixel_auroc"] for row in weights.rows if row["seed"] == 0}) == 1  # pooling leaves maps alone
    monkeypatch.setattr(method_studies, "TAU_FRACTIONS", (0.02, 0.5))
    curve = run_study("tau", data, settings(descriptor__tau=0.1))
    assert [(row["contrast"], row["tau_fraction"]) for row in curve.rows] == [
        (False, 0.02),
        (False, 0.5),
        (True, 0.02),
        (True, 0.5),
    ]
    alone = evaluate(data, settings(descriptor__weighting="softmax", descriptor__relative_tau=0.5)).runs[0].scores
    assert {name: curve.rows[1][name] for name in SCORES} == pytest.approx(alone)


def fake(counts: dict[str, int]) -> LabeledSet:
    labels = [label for label, count in counts.items() for _ in range(count)]
    paths = [Path(f"{i}.png") for i in range(len(labels))]
    return LabeledSet("x", paths, labels, [None] * len(paths))


@pytest.mark.parametrize("counts", [{"good": 200, "a": 50, "b": 90}, {"good": 32, "a": 60, "b": 31}])
def test_contamination_draws_nested_subsets_of_equal_size(counts: dict[str, int]) -> None:
    whole = fake(counts)
    parts = draw_contaminated(whole, seed=3)
    total = len(parts[0].data)
    assert total == min(int((len(whole) - counts["good"]) / 0.6), int(counts["good"] / 0.99))
    before: set[Path] = set()
    shares = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
    for part, wanted in zip(parts[::-1], shares, strict=False):
        bad = {p for p, label in zip(part.data.paths, part.data.labels, strict=True) if label != "good"}
        assert len(part.data) == len(set(part.data.paths)) == total
        assert part.share == len(bad) / total
        assert abs(len(bad) - wanted * total) <= 1
        assert not before or bad < before
        before = bad
    assert draw_contaminated(whole, seed=3) == parts
    assert draw_contaminated(whole, seed=4)[0].data.paths != parts[0].data.paths
    with pytest.raises(InputError, match="normal and anomalous"):
        draw_contaminated(fake({"good": 5}), 0)


def test_contamination_and_size_studies_run_on_their_subsets(data: LabeledSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_studies, "ANOMALOUS_SHARES", (0.2, 0.6))
    found = run_study("contamination", data, settings())
    assert len({row["images"] for row in found.rows}) == 1
    assert [row["share"] for row in found.rows] == sorted(row["share"] for row in found.rows)
    assert all(row["classes"] >= 2 for row in found.rows)
    monkeypatch.setattr(data_studies, "SMALLEST_SET", 6)
    sizes = run_study("size", data, settings())
    assert [row["images"] for row in sizes.rows] == [6, 10]
    assert {name: sizes.rows[1][name] for name in SCORES} == evaluate(data, settings()).runs[0].scores


@pytest.mark.parametrize("counts", [{"good": 200, "a": 50, "b": 90}, {"good": 12, "a": 60, "b": 31}, {"a": 4, "b": 3}])
def test_normals_draws_keep_every_anomalous_image_and_add_nested_normal_ones(counts: dict[str, int]) -> None:
    whole = fake(counts)
    parts = draw_with_normals(whole, seed=3)
    bad, good = counts["a"] + counts["b"], counts.get("good", 0)
    assert [part.share for part in parts] == sorted({part.share for part in parts})
    assert parts[0].share == 0
    before: set[Path] = set()
    for part in parts:
        added = {p for p, label in zip(part.data.paths, part.data.labels, strict=True) if label == "good"}
        assert len(part.data) == bad + len(added)
        assert part.share == pytest.approx(len(added) / len(part.data))
        assert before <= added
        before = added
    assert len(before) == min(good, 4 * bad)  # 80 % of the largest subset are normal
    assert draw_with_normals(whole, seed=3) == parts
    if good:
        assert draw_with_normals(whole, seed=4)[1].data.paths != parts[1].data.paths
    with pytest.raises(InputError, match="two anomalous"):
        draw_with_normals(fake({"good": 5, "a": 1}), 0)


def test_normals_study_has_no_image_auroc_for_an_all_defective_subset(
    data: LabeledSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_studies, "NORMAL_SHARES", (0.0, 0.3))
    found = run_study("normals", data, settings())
    none, some = found.rows
    assert none["share"] == 0 < some["share"]
    assert some["classes"] == none["classes"] + 1
    assert math.isnan(none["image_auroc"])
    assert 0 <= some["image_auroc"] <= 1
    assert not math.isnan(none["nmi"])


def test_tsne_has_coordinates_before_and_after_the_heads_for_every_image(data: LabeledSet) -> None:
    found = pictured("tsne", data)
    assert len(found.rows) == len(data)
    assert Counter(row["class"] for row in found.rows) == Counter(data.labels)
    assert all(math.isfinite(row[key]) for row in found.rows for key in ("x_before", "y_before", "x_after", "y_after"))
    assert not any(Path(row["path"]).is_absolute() for row in found.rows)
    assert found.rows == run_study("tsne", data, settings()).rows
    with pytest.raises(InputError, match="too few"):
        run_study("tsne", data.take([0, 1, 2]), settings())


def test_a_study_names_files_that_it_could_not_read(data: LabeledSet, tmp_path: Path) -> None:
    assert pictured("contours", data).skipped == ()
    whole = data.paths[0].read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    spoiled = replace(data, paths=[tmp_path / "cut.png", *data.paths[1:]])
    found = run_study("contours", spoiled, settings())
    assert [Path(one.path).name for one in found.skipped] == ["cut.png"]
    assert len(found.rows) == len(data) - 1
    assert study_markdown(found).endswith("1 file could not be read and is in no row.\n")


def test_maps_and_contours_show_images_masks_and_groups(data: LabeledSet) -> None:
    side_by_side = pictured("maps", data)
    assert [row.title for row in side_by_side.pictures] == data.classes
    for row in side_by_side.pictures:
        assert [picture.title for picture in row.pictures[:2]] == ["image", "mask"]
        assert len(row.pictures) == 2 + 5
        assert {picture.pixels.shape for picture in row.pictures} == {(64, 64, 3)}
    good, bad = side_by_side.pictures[0].pictures, side_by_side.pictures[1].pictures
    assert not good[1].pixels.any()
    assert bad[1].pixels.max() == 255
    names = {path.name: i for i, path in enumerate(data.paths)}
    shown = data.paths[names[Path(side_by_side.rows[0]["path"]).name]]
    assert np.array_equal(good[0].pixels, np.asarray(Image.open(shown).convert("RGB")))
    outlined = pictured("contours", data)
    assert sum(row["group"] == "normal" for row in outlined.rows) > 0
    assert sum(int(row.title.split("(")[1][:-1]) for row in outlined.pictures) == len(data)
    direct = pipeline.run(data.paths, settings(n_clusters=len(data.classes)))
    assert [row["group"] for row in outlined.rows] == [direct.cluster_name(int(label)) for label in direct.labels]


def small(name: str, data: LabeledSet, monkeypatch: pytest.MonkeyPatch) -> StudyResult:
    if STUDIES[name].figure != "lines":
        return pictured(name, data)
    monkeypatch.setattr(method_studies, "TAU_FRACTIONS", (0.02, 0.5))
    monkeypatch.setattr(data_studies, "ANOMALOUS_SHARES", (0.2, 0.6))
    return run_study(name, data, settings(), seeds=[0, 1] if name == "size" else [0])


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.figure])
def test_equal_results_give_equal_figure_files(
    name: str, data: LabeledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = small(name, data, monkeypatch)
    for suffix in (".png", ".svg"):
        for turn in "ab":
            figure = draw_figure(found)
            assert figure is not None
            save_figure(figure, suffix, tmp_path / (turn + suffix))
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert picture.std() > 5
    assert (tmp_path / "a.svg").read_text().rstrip().endswith("</svg>")


def test_a_study_table_has_means_over_seeds(data: LabeledSet) -> None:
    found = run_study("weighting", replace(data, masks=[None] * len(data)), settings(), seeds=[0, 1])
    text = study_markdown(found)
    assert text.count("\n| ") == 4 + 1
    assert "±" in text
    assert study_document(found)["summary"][0]["scores"]["nmi"].count == 2
    assert draw_figure(found) is None
    with pytest.raises(InputError, match="choose one of ablation"):
        run_study("everything", data)


def test_the_command_writes_tables_and_figures_and_refuses_foreign_files(data: LabeledSet, tmp_path: Path) -> None:
    root = data.paths[0].parents[1]
    options = [part for key, value in FAST.items() for part in ("--set", f"{key}={value}")]
    done = blemish("study", "contours", root, "--out", tmp_path, "--limit", 8, *options)
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "study-contours.json").read_text())
    assert (stored["study"], len(stored["rows"])) == ("contours", 8)
    assert stored["settings"]["image"]["size"] == 64
    assert len(list(csv.DictReader((tmp_path / "study-contours.csv").read_text().splitlines()))) == 8
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".csv", ".md", ".png", ".svg"}
    (tmp_path / "study-maps.png").write_bytes(b"mine")
    for arguments, words in ((["maps", root], "study-maps.png"), (["nonsense", root], "choose one of")):
        done = blemish("study", *arguments, "--out", tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_missing_matplotlib_is_an_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from blemish.output.figures import require_matplotlib

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"blemish\[figures\]"):
        require_matplotlib()
