from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from blemish.output.names import evaluation_prefix, file_stems


def test_stems_never_collide() -> None:
    assert file_stems(["a.png", "a.jpg", "b.png"]) == ["a.png", "a.jpg", "b"]
    hostile = ["a.png", "a.jpg", "a.png.bmp", "A.PNG", "a.bmp/x.png", "../a.png", "/etc/x.png", "x" * 250 + ".png"]
    hostile += ["x" * 250 + ".jpg", "é" * 120 + ".png", "q.jpg", "q.png/inner.png"]
    stems = file_stems(hostile)
    assert len({s.casefold() for s in stems}) == len(hostile)
    assert all(not s.startswith("/") and ".." not in s.split("/") for s in stems)
    assert max(len(os.fsencode(part)) for s in stems for part in s.split("/")) < 240
    files = {f"{s}.png" for s in stems}
    assert not files & {str(parent) for s in stems for parent in Path(s).parents}


def test_evaluation_prefix_leaves_other_layouts_alone() -> None:
    assert evaluation_prefix("sets", ["leather/test/cut/0.png"]) == ""
    assert evaluation_prefix("sets/test", ["0.png", "cut/1.png"]) == ""
    assert evaluation_prefix(None, ["test/cut/0.png"]) == ""


def test_stems_differ_on_disks_that_ignore_case_or_compose_accents() -> None:
    composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
    stems = file_stems([composed, decomposed, "Straße.png", "STRASSE.png"])
    assert len({unicodedata.normalize("NFC", stem).casefold() for stem in stems}) == 4


def test_long_paths_are_cut_and_stay_distinct() -> None:
    deep = "folder/" * 580
    stems = file_stems([deep + "a.png", "x/" + deep + "a.png", "a.png"])
    assert len(set(stems)) == 3
    assert max(len(os.fsencode(stem)) for stem in stems) < 1000
    assert all(stem.endswith("a") for stem in stems)


def test_names_of_dots_keep_their_suffix() -> None:
    assert file_stems(["..png", "x/...png", ".png", "x/..jpg"]) == ["..png", "x/...png", ".png", "x/..jpg"]
