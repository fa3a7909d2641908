"""The review of a folder apart from the server: files that the page has saved, and two reviewers."""

from __future__ import annotations

from pathlib import Path

import pytest

from blemish.errors import InputError
from blemish.output import write_outputs
from blemish.review.apply import apply_file
from blemish.review.log import REVIEW_FILE, read_log
from blemish.review.session import Session
from helpers.results import make_result
from helpers.reviews import as_json

PATHS = ["n0", "n1", "a0", "a1", "a2", "b0", "b1"]


def saved(path: Path, *lines: str) -> Path:
    """A file as the page saves it."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def session(tmp_path: Path) -> Session:
    result = make_result(2, (3, 2), paths=PATHS)
    write_outputs(result, tmp_path / "results")
    return Session(tmp_path / "results", result)


def test_a_file_is_applied_once_and_says_what_changed(session: Session, tmp_path: Path) -> None:
    rename = as_json("rename", number=1, type=2, name="hole")
    file = saved(tmp_path / "f", rename, as_json("move", number=2, images=["a0"], to=2), rename)
    assert apply_file(session, file) == [
        "2 new operations, 0 that were known",
        "3 images have another type; 0 became normal, 0 anomalous",
        "images by type: normal 2, type 1 2, hole 3",
    ]
    log = (session.folder / REVIEW_FILE).read_bytes()
    assert apply_file(session, file) == ["0 new operations, 2 that were known"]
    assert (session.folder / REVIEW_FILE).read_bytes() == log
    copy = tmp_path / "copy"
    copy.write_bytes(log)
    assert apply_file(session, copy) == ["0 new operations, 2 that were known"]


@pytest.mark.parametrize(
    "line",
    [
        as_json("normal", images=["gone"]),
        as_json("rename", type=7, name="x"),
        as_json("undo", target="00000000-0000-0000-0000-00000000000f"),
        "damaged",
    ],
)
def test_a_file_with_one_mistake_changes_nothing(session: Session, tmp_path: Path, line: str) -> None:
    good = as_json("rename", number=1, type=2, name="hole")
    with pytest.raises(InputError):
        apply_file(session, saved(tmp_path / "f", good, line, as_json("normal", images=["a0"])))
    assert not (session.folder / REVIEW_FILE).exists()


def test_a_file_that_was_cut_is_applied_up_to_there_and_said(session: Session, tmp_path: Path) -> None:
    file = saved(tmp_path / "f", as_json("rename", number=1, type=2, name="hole"))
    file.write_text(file.read_text() + '{"id": ')
    lines = apply_file(session, file)
    assert lines[0] == "1 new operations, 0 that were known"
    assert any("not complete" in line for line in lines)


def test_types_of_two_reviewers_do_not_meet(session: Session, tmp_path: Path) -> None:
    """Both made type 3; the one who comes second gets type 4, in every operation that speaks of it."""
    session.submit(as_json("new_type", number=1, name="dent", label=3).encode())
    session.submit(as_json("move", number=2, images=["a0"], to=3).encode())
    file = saved(
        tmp_path / "f",
        as_json("split", number=3, type=2, parts=[["b0"], ["b1"]]),
        as_json("rename", number=4, type=3, name="half"),
        as_json("new_type", number=5, name="crack", label=4),
        as_json("move", number=6, images=["a1"], to=4),
        as_json("merge", number=7, types=[1, 4], into=4),
    )
    apply_file(session, file)
    found = session.corrected()
    names = {path: found.cluster_name(int(label)) for path, label in zip(found.paths, found.labels, strict=True)}
    assert names == {
        **{"n0": "normal", "n1": "normal", "a0": "dent"},
        **{"a1": "crack", "a2": "crack", "b0": "type 2", "b1": "half"},
    }
    assert apply_file(session, file)[0] == "0 new operations, 5 that were known"


def test_a_file_on_other_groups_is_for_a_run(session: Session, tmp_path: Path) -> None:
    other = make_result(3, (2, 2), paths=PATHS)
    write_outputs(other, tmp_path / "other")
    Session(tmp_path / "other", other).submit(as_json("rename", type=1, name="x").encode())
    with pytest.raises(InputError, match="blemish run --review"):
        apply_file(session, tmp_path / "other" / REVIEW_FILE)


def test_another_run_keeps_the_log(session: Session) -> None:
    session.submit(as_json("rename", number=1, type=1, name="x").encode())
    other = make_result(3, (2, 2), paths=PATHS)
    write_outputs(other, session.folder)
    again = Session(session.folder, other)
    assert again.operations() == []
    again.submit(as_json("rename", number=2, type=1, name="y").encode())
    assert [len(one.operations) for one in read_log(session.folder / REVIEW_FILE).segments] == [1, 1]
