from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.evaluation import LabeledSet, is_normal, load_dataset, read_mask
from blemish.images import decode
from helpers.files import gradient, save

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
IMAGE = gradient(10, 14)
MASK = np.zeros((10, 14), np.uint8)
MASK[2:5, 3:9] = 255


def put(path: Path, values: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, values)


def mvtec(root: Path, suffix: str = "_mask", masks: str = "ground_truth") -> Path:
    for kind, stems in {"good": ["000", "001"], "cut": ["000", "00"], "combined": ["000"]}.items():
        for stem in stems:
            put(root / "test" / kind / f"{stem}.png")
            if kind != "good":
                put(root / masks / kind / f"{stem}{suffix}.png", MASK)
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


def test_mvtec_layout_may_have_no_masks(tmp_path):
    put(tmp_path / "test/good/1.jpg")
    put(tmp_path / "test/rust/2.jpg")
    put(tmp_path / "foreground/rust/2.png", MASK)
    found = load_dataset(tmp_path)
    assert found.masks == [None, None]
    assert not found.has_masks


def test_a_folder_of_several_categories_is_refused(tmp_path):
    mvtec(tmp_path / "tile")
    mvtec(tmp_path / "wood")
    with pytest.raises(InputError, match=r"2 categories \(tile, wood\)"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path / "wood").name == "wood"


def test_a_mask_without_an_image_and_a_second_mask_are_refused(tmp_path):
    root = mvtec(tmp_path / "tile")
    orphan = put(root / "ground_truth/cut/007_mask.png", MASK)
    with pytest.raises(InputError, match=r"007_mask.png: mask without an image"):
        load_dataset(root)
    orphan.unlink()
    put(root / "ground_truth/cut/000.png", MASK)
    with pytest.raises(InputError, match=r"second mask"):
        load_dataset(root)


def test_mtd_layout_separates_masks_from_images_by_suffix(tmp_path):
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
def test_leaves_layout_reads_the_table_and_leaves_out_undetermined_images(tmp_path, inside):
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


def test_folder_layout_takes_each_folder_as_a_type_and_skips_hidden_files(tmp_path):
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


MASK_FOLDERS = ["mask", "masks", "MASK", "gt", "GT", "ground_truth", "groundtruth", "Ground-Truth", "label", "labels"]


@pytest.mark.parametrize("folder", [*MASK_FOLDERS, "annotations"])
@pytest.mark.parametrize("place", ["{masks}/hole/{stem}", "{masks}/{stem}", "hole/{masks}/{stem}"])
def test_folders_named_after_masks_hold_masks_and_are_no_type(tmp_path, folder, place):
    for name in ("good/1.png", "hole/2.png", "hole/3.png", "dye/4.png"):
        put(tmp_path / name)
    for stem in ("2.png", "3_mask.png"):
        put(tmp_path / place.format(masks=folder, stem=stem), MASK)
    found = load_dataset(tmp_path)
    assert found.labels == ["dye", "good", "hole", "hole"]
    assert [m and m.name for m in found.masks] == [None, None, "2.png", "3_mask.png"]
    assert found.is_annotated.tolist() == [False, True, True, True]


@pytest.mark.parametrize("folder", MASK_FOLDERS)
@pytest.mark.parametrize("parent", ["", "test/"])
def test_mvtec_layout_knows_the_same_names_of_mask_folders(tmp_path, folder, parent):
    found = load_dataset(mvtec(tmp_path, masks=parent + folder))
    assert found.labels == ["cut", "cut", "good", "good"]
    assert [m is None for m in found.masks] == [False, False, True, True]


def test_an_image_may_lack_the_mask_that_others_of_its_type_have(tmp_path):
    for name in ("good/1.png", "hole/2.png", "hole/3.png"):
        put(tmp_path / name)
    put(tmp_path / "masks/hole/3.png", MASK)
    found = load_dataset(tmp_path)
    assert [m and m.name for m in found.masks] == [None, None, "3.png"]
    assert found.is_annotated.tolist() == [True, False, True]


def test_masks_that_could_belong_to_several_images_or_to_no_type_are_refused(tmp_path):
    for name in ("good/1.png", "hole/2.png", "dye/2.png"):
        put(tmp_path / name)
    put(tmp_path / "masks/2.png", MASK)
    with pytest.raises(InputError, match=r"2.png: images of 2 types have that name; move the mask to masks/<type>/"):
        load_dataset(tmp_path)
    (tmp_path / "masks/2.png").rename(tmp_path / "masks/9.png")
    with pytest.raises(InputError, match=r"9.png: mask without an image of that name"):
        load_dataset(tmp_path)
    (tmp_path / "masks/9.png").unlink()
    put(tmp_path / "masks/Hole/2.png", MASK)
    with pytest.raises(InputError, match=r"masks/Hole: masks of a type without a folder of images"):
        load_dataset(tmp_path)
    (tmp_path / "masks/Hole/2.png").unlink()
    put(tmp_path / "masks/hole/2.png", MASK)
    put(tmp_path / "gt/hole/2.png", MASK)
    with pytest.raises(InputError, match=r"2 folders of masks \(gt, masks\)"):
        load_dataset(tmp_path)


def test_a_place_without_a_labeled_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        load_dataset(tmp_path / "gone")
    with pytest.raises(InputError, match="any known layout"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="layout 'voc' is not known"):
        load_dataset(tmp_path, "voc")  # type: ignore[arg-type]
    put(tmp_path / "good/1.png")
    with pytest.raises(InputError, match="the layout mtd"):
        load_dataset(tmp_path, "mtd")


@pytest.mark.parametrize("root", ["x" * 200_000, "a\0b", "x" * 300])
def test_paths_that_no_file_system_takes_are_one_short_line(root):
    with pytest.raises(InputError) as caught:
        load_dataset(Path(root))
    assert len(str(caught.value)) < 1000
    with pytest.raises(InputError) as caught:
        load_dataset(Path("."), root)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["good", "Free", " NORMAL", "ok", "healthy"])
def test_names_of_normal_classes_are_known_in_any_case(name):
    assert is_normal(name)
    assert not is_normal(name + "x")


def labeled(counts: dict[str, int]) -> LabeledSet:
    labels = [label for label, count in counts.items() for _ in range(count)]
    paths = [Path(f"{i}.png") for i in range(len(labels))]
    return LabeledSet("x", paths, labels, list(paths))


def test_a_limit_keeps_the_share_of_each_class():
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


SETS = {
    "mtd": {"good": 952, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 103},
    "mvtec-leather": {"good": 32, "color": 19, "cut": 19, "fold": 16, "glue": 19, "poke": 18},
    "bracol-leaf": {"good": 100, "miner": 100, "rust": 80, "phoma": 120, "cercospora": 22},
}


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real image sets next to the repository")
@pytest.mark.parametrize("name", SETS)
def test_real_sets_are_found_completely_with_their_masks(name):
    found = load_dataset(DATA / name)
    assert Counter(found.labels) == SETS[name]
    assert found.classes[0] == "good"
    assert sum(m is not None for m in found.masks) == len(found) - SETS[name]["good"]
    part = found.limited(12)
    for path, mask in zip(part.paths, part.masks, strict=True):
        assert mask is None or read_mask(mask).defect.shape == decode(path).shape[:2]
