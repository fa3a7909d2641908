"""What reviews say to a further run, and what the run does with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish import Config, run
from blemish.clustering.knowledge import NORMAL, Knowledge, known_anomalous
from blemish.errors import InputError
from blemish.output import write_outputs
from blemish.review import read_knowledge
from blemish.review.knowledge import knowledge
from blemish.review.log import REVIEW_FILE, Log, Segment
from blemish.review.operations import Start, parse_line
from blemish.review.session import Session
from helpers.results import make_result
from helpers.reviews import as_json, operation

PATHS = ["n0", "n1", "a0", "a1", "a2", "b0", "b1"]
HERE = Path("review.jsonl")


def start(labels: str, normal: int | None = 0, names: dict[str, str] | None = None) -> Start:
    found = parse_line(
        as_json("start", paths=PATHS, labels=[int(one) for one in labels], normal=normal, names=names or {})
    )
    assert isinstance(found, Start)
    return found


def test_placed_images_names_and_merges_are_known() -> None:
    operations = [
        operation("rename", type=2, name="hole"),
        operation("move", images=["a0"], to=2),
        operation("normal", images=["a1"]),
        operation("merge", types=[1, 2], into=2),
    ]
    found = knowledge(Log([Segment(start("0011122"), operations)]), HERE)
    hole = found.groups["b0"]
    assert {path for path, number in found.groups.items() if number == hole} == {"a0", "a2", "b0", "b1"}
    assert {path for path, number in found.groups.items() if number == NORMAL} == {"n0", "n1", "a1"}
    assert found.placed == {"a0", "a1"}
    assert found.names == {hole: "hole"}
    assert found.merged == {hole}
    assert found.missing(["a1"]) == ["a0"]
    assert known_anomalous(found, PATHS, np.ones(7, bool)).tolist() == [True, True, True, False, True, True, True]


def test_groups_of_two_runs_are_brought_together_by_members_and_names() -> None:
    first = Segment(start("0011122"), [operation("rename", type=1, name="cut"), operation("move", images=["b0"], to=1)])
    second = Segment(start("1122200", normal=1, names={"0": "hole"}), [operation("normal", images=["n1"])])
    found = knowledge(Log([first, second]), HERE)
    assert found.groups["b0"] == found.groups["a0"] != found.groups["b1"]
    assert found.groups["n0"] == NORMAL
    assert {found.names[found.groups[path]] for path in ("a2", "b1")} == {"cut", "hole"}
    assert found.placed == {"b0", "n1"}


def test_a_later_word_on_an_image_counts() -> None:
    log = Log(
        [Segment(start("0011122"), [operation("move", images=["a0"], to=2), operation("move", images=["a0"], to=0)])]
    )
    assert knowledge(log, HERE).groups["a0"] == NORMAL


def test_operations_alone_do_not_say_which_images_they_mean(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text(as_json("rename", type=1, name="x") + "\n")
    with pytest.raises(InputError, match="--apply FILE"):
        read_knowledge(tmp_path / "saved")


def test_a_results_folder_is_as_good_as_its_file(tmp_path: Path) -> None:
    result = make_result(2, (3, 2), paths=PATHS)
    write_outputs(result, tmp_path / "results")
    Session(tmp_path / "results", result).submit(as_json("normal", images=["a0"]).encode())
    assert read_knowledge(tmp_path / "results") == read_knowledge(tmp_path / "results" / REVIEW_FILE)
    with pytest.raises(InputError, match="cannot be read"):
        read_knowledge(tmp_path)


def photographs(n: int) -> list[np.ndarray]:
    """Gray noise: half of the images plain, a quarter with a bright bar, a quarter with a dark disk."""
    found = []
    rows, columns = np.mgrid[0:64, 0:64]
    for i in range(n):
        pixels = np.random.default_rng(i).integers(100, 140, (64, 64), dtype=np.uint8)
        if i % 4 == 1:
            pixels[28:34, 8:56] = 250
        elif i % 4 == 2:
            pixels[(rows - 30) ** 2 + (columns - 34) ** 2 < 150] = 10
        found.append(pixels)
    return found


def test_a_run_respects_what_is_known_and_changes_nothing_without() -> None:
    config = Config.from_values(
        {"image.size": 64, "localization.sample_images": 12, "contrastive.enabled": False, "cache.enabled": False}
    ).updated(n_clusters=3)
    images = photographs(24)
    plain = run(images, config)
    empty = run(images, config, knowledge=Knowledge({}, frozenset()))
    assert empty.labels.tolist() == plain.labels.tolist()
    assert empty.descriptors.tobytes() == plain.descriptors.tobytes()
    bar, disk = (int(plain.labels[i]) for i in (1, 2))
    groups = {
        path: NORMAL if label == plain.normal_label else int(label) + 1
        for path, label in zip(plain.paths, plain.labels, strict=True)
    }
    groups |= {plain.paths[1]: disk + 1, plain.paths[2]: NORMAL, plain.paths[0]: bar + 1}
    word = Knowledge(groups, frozenset(plain.paths[:3]), names={disk + 1: "disk"})
    found = run(images, config, knowledge=word)
    assert found.cluster_name(int(found.labels[1])) == found.cluster_name(int(found.labels[6])) == "disk"
    assert found.labels[2] == found.normal_label
    assert found.is_anomalous[:3].tolist() == [True, True, False]
    assert found.model is not None
