from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from blemish.errors import InputError, OutputError
from blemish.evaluation.datasets import load_dataset, read_mask
from blemish.images import decode, find_images
from blemish.synthetic.demo import DEMO_DEFECTS, defects, make_demo, materials, render


def tree_digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("material", materials())
@pytest.mark.parametrize("defect", [None, *defects()])
def test_every_surface_takes_every_defect_at_every_size(material, defect):
    for size in (32, 80, 101):
        image, mask = render(material, defect, np.random.default_rng(size), size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.float32
        assert mask.shape == (size, size)
        assert mask.dtype == np.bool_
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 0.01  # a texture, not a flat sheet
        assert mask.any() == (defect is not None)
        assert mask.mean() < 0.75


@pytest.mark.parametrize("defect", defects())
def test_defects_change_the_image_inside_their_mask_and_hardly_outside(defect):
    """The surface is drawn before the defect from the same random numbers, so that a difference leaves the defect."""
    inside, outside = [], []
    for seed in range(12):
        plain, _ = render("stone", None, np.random.default_rng(seed), 160)
        spoiled, mask = render("stone", defect, np.random.default_rng(seed), 160)
        # local means, because the sensor noise differs between the two images
        change = np.abs(uniform_filter(spoiled - plain, (5, 5, 1))).max(axis=2)
        near = uniform_filter(mask.astype(float), 25) > 0
        inside.append(change[mask].mean())
        outside.append(change[~near].mean())
    assert np.median(inside) > 0.05
    assert np.median(inside) > 2.5 * np.median(outside)


@pytest.mark.parametrize("defect", defects())
def test_masks_are_never_empty_and_their_places_vary(defect):
    centers = []
    for seed in range(40):
        _, mask = render("metal", defect, np.random.default_rng(seed), 64)
        assert mask.any()
        centers.append(np.argwhere(mask).mean(axis=0) / 64)
    assert np.ptp(centers, axis=0).min() > 0.5


def test_the_same_generator_state_gives_the_same_image():
    first = render("leather", "thread", np.random.default_rng(7), 96)
    again = render("leather", "thread", np.random.default_rng(7), 96)
    other = render("leather", "thread", np.random.default_rng(8), 96)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_images_of_one_material_look_like_one_product():
    """Mean colors differ little within a material, and clearly between leather and metal."""
    means = {
        m: np.array([render(m, None, np.random.default_rng(s), 96)[0].mean((0, 1)) for s in range(4)])
        for m in materials()
    }
    spread = max(np.ptp(values, axis=0).max() for values in means.values())
    assert spread < 0.15
    assert np.linalg.norm(means["leather"].mean(0) - means["metal"].mean(0)) > 0.3


def test_unknown_names_and_small_sizes_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="material 'glass' is not known; choose one of weave"):
        render("glass", None, rng)
    with pytest.raises(InputError, match="defect 'dent' is not known; choose one of scratch"):
        render("weave", "dent", rng)
    with pytest.raises(InputError, match="size 31"):
        render("weave", None, rng, 31)


# ---- the demo set


def test_demo_keeps_the_truth_apart_from_the_images(tmp_path):
    done = []
    demo = make_demo(tmp_path / "a/demo", n_images=20, size=64, progress=done.append)
    assert done == list(range(1, 21))
    images = find_images(demo.images)
    assert [p.name for p in images] == [f"img_{i:04d}.png" for i in range(1, 21)]
    assert len(list(demo.images.iterdir())) == 20  # nothing but images
    found = load_dataset(tmp_path / "a/demo")
    assert [p.resolve() for p in found.paths] == [p.resolve() for p in images]
    assert Counter(found.labels) == {"good": 7, "scratch": 3, "stain": 3, "hole": 3, "thread": 2, "color": 2}
    assert found.labels != sorted(found.labels)  # the order is random
    for path, mask, anomalous in zip(found.paths, found.masks, found.is_anomalous, strict=True):
        assert (mask is not None) == anomalous
        assert mask is None or (read_mask(mask).defect.any() and read_mask(mask).defect.shape == decode(path).shape[:2])
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["demo"]  # no temporary folder stays


def test_one_seed_gives_the_same_demo_to_the_bit(tmp_path):
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_demo(tmp_path / name, seed=seed, n_images=6, size=48, material="wood")
        digests.append(tree_digest(tmp_path / name))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_demo_images_do_not_repeat(tmp_path):
    demo = make_demo(tmp_path / "d", n_images=12, size=48)
    assert len(set(tree_digest(demo.images).values())) == 12


@pytest.mark.parametrize("types", [DEMO_DEFECTS, ("fold",)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_demos_are_possible(tmp_path, count, types):
    make_demo(tmp_path / "d", n_images=count, size=32, types=types)
    assert len(load_dataset(tmp_path / "d")) == count


def test_an_existing_demo_is_kept_and_other_folders_are_refused(tmp_path):
    demo = make_demo(tmp_path / "d", n_images=3, size=32)
    (tmp_path / "d/results").mkdir()  # the output of a run next to the set
    before = [p.stat().st_mtime_ns for p in sorted(demo.images.iterdir())]
    assert make_demo(tmp_path / "d", n_images=3, size=32) == demo
    assert [p.stat().st_mtime_ns for p in sorted(demo.images.iterdir())] == before
    with pytest.raises(OutputError, match="is not this demo set"):
        make_demo(tmp_path / "d", n_images=3, size=32, seed=1)
    (tmp_path / "e").mkdir()
    (tmp_path / "e/thesis.txt").write_text("mine")
    (tmp_path / "f").write_text("a file")
    for name in ("e", "f"):
        with pytest.raises(OutputError, match="choose another folder"):
            make_demo(tmp_path / name, n_images=3, size=32)
    assert (tmp_path / "e/thesis.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert make_demo(tmp_path / "empty", n_images=1, size=32).images.is_dir()


def test_a_failed_demo_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="not known"):
        make_demo(tmp_path / "d", n_images=3, size=32, material="glass")
    with pytest.raises(InputError, match="at least one"):
        make_demo(tmp_path / "d", n_images=0)
    with pytest.raises(InputError, match="at least one"):
        make_demo(tmp_path / "d", types=())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        make_demo(tmp_path / "file/d", n_images=1, size=32)
