from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.evaluation.datasets import LabeledSet, is_normal, load_dataset, read_mask
from blemish.images import decode
from helpers.files import gradient, save, save_oriented

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
IMAGE = gradient(10, 14)
MASK = np.zeros((10, 14), np.uint8)
MASK[2:5, 3:9] = 255


def put(path: Path, values: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, values)


def mvtec(root: Path, suffix: str = "_mask") -> Path:
    for kind, stems in {"good": ["000", "001"], "cut": ["000", "00"], "combined": ["000"]}.items():
        for stem in stems:
            put(root / "test" / kind / f"{stem}.png")
            if kind != "good":
                put(root / "ground_truth" / kind / f"{stem}{suffix}.png", MASK)
    put(root / "train/good/000.png")
    return root


@pytest.mark.parametrize("suffix", ["", "_mask"])
@pytest.mark.parametrize("parent", [False, True])
def test_mvtec_layout_pairs_masks_by_name(tmp_path, suffix, parent):
    category = mvtec(tmp_path / "leather", suffix)
    found = load_dataset(tmp_path if parent else category)
    assert found.name == "leather"
    names = [p.relative_to(category / "test").as_posix() for p in found.paths]
    assert names == ["cut/00.png", "cut/000.png", "good/000.png", "good/001.png"]  # without combined, without train
    assert found.labels == ["cut", "cut", "good", "good"]
    assert [m and m.name for m in found.masks] == [f"00{suffix}.png", f"000{suffix}.png", None, None]
    assert found.classes == ["good", "cut"]
    assert found.is_anomalous.tolist() == [True, True, False, False]
    assert found.has_masks
    assert found.foregrounds == [None] * 4


def test_mvtec_layout_with_silhouettes_and_without_masks(tmp_path):
    put(tmp_path / "test/good/1.jpg")
    put(tmp_path / "test/rust/2.jpg")
    put(tmp_path / "foreground/rust/2.png", MASK)
    found = load_dataset(tmp_path)
    assert found.foregrounds == [None, tmp_path / "foreground/rust/2.png"]
    assert found.masks == [None, None]
    assert not found.has_masks


def test_several_categories_need_a_choice(tmp_path):
    mvtec(tmp_path / "tile")
    mvtec(tmp_path / "wood")
    with pytest.raises(InputError, match=r"2 categories \(tile, wood\)"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path / "wood").name == "wood"


def test_masks_that_do_not_fit_are_named(tmp_path):
    root = mvtec(tmp_path / "tile")
    orphan = put(root / "ground_truth/cut/007_mask.png", MASK)
    with pytest.raises(InputError, match=r"007_mask.png: mask without an image"):
        load_dataset(root)
    orphan.unlink()
    double = put(root / "ground_truth/cut/000.png", MASK)
    with pytest.raises(InputError, match=r"second mask"):
        load_dataset(root)
    double.unlink()
    put(root / "ground_truth/cut/000_mask.png", MASK.T)
    with pytest.raises(InputError, match=r"000_mask.png: is 14 x 10, its image 10 x 14"):
        load_dataset(root)
    (root / "ground_truth/cut/000_mask.png").unlink()
    with pytest.raises(InputError, match=r"cut/000.png: shows a defect \(cut\) and has no mask"):
        load_dataset(root)


def test_mask_size_is_compared_after_orientation(tmp_path):
    (tmp_path / "test/cut").mkdir(parents=True)
    save_oriented(tmp_path / "test/cut/1.jpg", gradient(14, 10), 6)
    put(tmp_path / "ground_truth/cut/1.png", MASK)
    assert load_dataset(tmp_path).has_masks


def test_mtd_layout_keeps_masks_and_images_apart(tmp_path):
    for kind in ("MT_Blowhole", "MT_Free"):
        for stem in ("exp1_num_4", "exp1_num_41"):
            put(tmp_path / kind / "Imgs" / f"{stem}.jpg")
            put(tmp_path / kind / "Imgs" / f"{stem}.png", MASK if kind == "MT_Blowhole" else MASK * 0)
    found = load_dataset(tmp_path)
    assert found.labels == ["blowhole", "blowhole", "free", "free"]
    assert {p.suffix for p in found.paths} == {".jpg"}
    assert [m and m.stem for m in found.masks] == ["exp1_num_4", "exp1_num_41", None, None]
    assert found.is_anomalous.tolist() == [True, True, False, False]


@pytest.mark.parametrize("inside", ["", "leaf"])
def test_leaves_layout_reads_the_table_and_leaves_out_the_undetermined(tmp_path, inside):
    for name in ("0", "1", "10", "2"):
        put(tmp_path / inside / "images" / f"{name}.jpg")
    (tmp_path / inside / "dataset.csv").write_text(
        "id,predominant_stress,miner,severity\n1,0,0,0\n10,4,0,1\n0,1,1,2\n2,5,1,1\n"
    )
    found = load_dataset(tmp_path)
    assert [p.stem for p in found.paths] == ["1", "10", "0"]
    assert found.labels == ["healthy", "cercospora", "miner"]
    (tmp_path / inside / "images/10.jpg").unlink()
    with pytest.raises(InputError, match=r"1 images of dataset.csv are missing, the first is 10"):
        load_dataset(tmp_path)
    (tmp_path / inside / "dataset.csv").write_text("id,predominant_stress\n1,0\n0\n")
    with pytest.raises(InputError, match=r"dataset.csv, row 3: id or predominant_stress is missing"):
        load_dataset(tmp_path)


def test_folder_layout_takes_types_from_folders(tmp_path):
    for name in ("ok/1.png", "hole/a/2.bmp", "hole/3.png", ".cache/x.png", "hole/.x.png", "hole/notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            put(tmp_path / name)
    found = load_dataset(tmp_path)
    assert [(p.name, label) for p, label in zip(found.paths, found.labels, strict=True)] == [
        ("3.png", "hole"),
        ("2.bmp", "hole"),
        ("1.png", "ok"),
    ]
    assert not found.has_masks


@pytest.mark.parametrize("folder", ["ground_truth", "masks"])
def test_folder_layout_pairs_masks_and_lets_a_type_have_none(tmp_path, folder):
    for name in ("good/1.png", "hole/1.png", "hole/2.png", "dye/1.png"):
        put(tmp_path / name)
    put(tmp_path / folder / "hole/2_mask.png", MASK)
    with pytest.raises(InputError, match=r"hole/1.png: shows a defect \(hole\) and has no mask"):
        load_dataset(tmp_path)
    put(tmp_path / folder / "hole/1.png", MASK)
    found = load_dataset(tmp_path)
    assert found.labels == ["dye", "good", "hole", "hole"]
    assert [m and m.name for m in found.masks] == [None, None, "1.png", "2_mask.png"]
    assert found.is_drawn.tolist() == [False, True, True, True]
    assert found.has_masks


@pytest.mark.parametrize(("separator", "mark"), [(",", ""), (";", "\ufeff"), ("\t", "")])
def test_csv_layout_in_the_dialects_of_spreadsheets(tmp_path, separator, mark):
    put(tmp_path / "images/ä 1.png")
    put(tmp_path / "images/2.png")
    put(tmp_path / "masks/2.png", MASK)
    rows = [("Path", "Label", "Mask"), ("images/ä 1.png", "Good", ""), ("images/2.png", "hole", "masks/2.png")]
    file = tmp_path / "labels.csv"
    file.write_text(mark + "\r\n".join(separator.join(row) for row in rows), encoding="utf-8")
    for root in (file, tmp_path):
        found = load_dataset(root)
        assert found.labels == ["Good", "hole"]
        assert found.masks == [None, tmp_path / "masks/2.png"]
        assert found.name == tmp_path.name


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path,label\n1.png,x\nmissing.png,y\n", r"row 3: missing.png is no file"),
        ("path,label\n1.png,x\n1.png,y\n", r"row 3: 1.png is listed twice"),
        ("path,label\n1.png,\n", r"row 2: path or label is empty"),
        ("file,kind\n1.png,x\n", r"needs a header"),
        ("path,label\n", r"needs a header"),
        ("", r"needs a header"),
        ("path,label,mask\n1.png,x,no.png\n", r"row 2: no.png is no file"),
        ("path,label,mask\n1.png,x,m.png\n2.png,x,\n", r"2.png: shows a defect \(x\) and has no mask"),
    ],
)
def test_csv_mistakes_are_named(tmp_path, text, problem):
    put(tmp_path / "1.png")
    put(tmp_path / "2.png")
    put(tmp_path / "m.png", MASK)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=problem):
        load_dataset(tmp_path)


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        load_dataset(tmp_path / "gone")
    with pytest.raises(InputError, match="any known layout"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="layout 'voc' is not known"):
        load_dataset(tmp_path, "voc")  # type: ignore[arg-type]
    put(tmp_path / "good/1.png")
    with pytest.raises(InputError, match="the layout mtd"):
        load_dataset(tmp_path, "mtd")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(InputError, match="UTF-8"):
        load_dataset(tmp_path / "bytes.csv")


def test_masks_of_0_and_1_read_like_masks_of_0_and_255(tmp_path):
    expected = MASK > 0
    for name, values in {"a": MASK, "b": MASK // 255, "c": np.repeat(MASK[..., None], 3, 2)}.items():
        assert np.array_equal(read_mask(put(tmp_path / f"{name}.png", values)), expected)
    soft = np.where(MASK > 0, 255, 40).astype(np.uint8)
    assert np.array_equal(read_mask(put(tmp_path / "soft.png", soft)), expected)
    assert not read_mask(put(tmp_path / "empty.png", MASK * 0)).any()


@pytest.mark.parametrize("name", ["good", "Free", " NORMAL", "ok", "healthy"])
def test_names_of_normal_classes(name):
    assert is_normal(name)
    assert not is_normal(name + "x")


def labeled(counts: dict[str, int]) -> LabeledSet:
    labels = [label for label, count in counts.items() for _ in range(count)]
    paths = [Path(f"{i}.png") for i in range(len(labels))]
    return LabeledSet("x", paths, labels, list(paths), [None] * len(paths))


def test_a_limit_keeps_the_shares_of_the_classes():
    found = labeled({"good": 60, "cut": 30, "hole": 9, "rare": 1})
    part = found.limited(20, seed=3)
    assert Counter(part.labels) == {"good": 12, "cut": 6, "hole": 1, "rare": 1}
    assert part.paths == part.masks  # entries stay together
    assert part == found.limited(20, seed=3)
    assert part != found.limited(20, seed=4)
    assert found.limited(100) is found
    assert len(found.limited(4)) == 4
    for count in range(4, 100, 7):
        assert len(found.limited(count)) == count
    with pytest.raises(InputError, match="raise the limit"):
        found.limited(3)


# ---- real sets

SETS = {
    "mtd": {"good": 952, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 103},
    "mvtec-leather": {"good": 32, "color": 19, "cut": 19, "fold": 16, "glue": 19, "poke": 18},
    "bracol-leaf": {"good": 100, "miner": 100, "rust": 80, "phoma": 120, "cercospora": 22},
}


@pytest.mark.shared
@pytest.mark.parametrize("name", SETS)
def test_real_sets_are_read_whole(name):
    found = load_dataset(DATA / name)
    assert Counter(found.labels) == SETS[name]
    assert found.classes[0] == "good"
    assert sum(m is not None for m in found.masks) == len(found) - SETS[name]["good"]
    assert all(f is not None for f in found.foregrounds) == (name == "bracol-leaf")
    part = found.limited(12)
    for path, mask in zip(part.paths, part.masks, strict=True):
        assert mask is None or read_mask(mask).shape == decode(path).shape[:2]
