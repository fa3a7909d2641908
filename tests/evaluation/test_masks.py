from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blemish.errors import InputError
from blemish.evaluation.masks import Mask, interpret_mask, read_mask, read_mask_of
from helpers.files import save, save_oriented, save_png16

SHAPE = (40, 56)


def regions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two defects that do not touch, and the rim of the first."""
    first, second, rim = (np.zeros(SHAPE, bool) for _ in range(3))
    first[8:20, 6:22] = True
    second[25:35, 30:50] = True
    rim[6:22, 4:24] = True
    return first, second, rim & ~first


FIRST, SECOND, RIM = regions()


def values(background: int, first: int, second: int, rim: int | None = None) -> np.ndarray:
    out = np.full(SHAPE, background, np.uint8)
    if rim is not None:
        out[RIM] = rim
    out[FIRST] = first
    out[SECOND] = second
    return out


def assert_reads(mask: Mask, *, ignored: bool = False) -> None:
    assert np.array_equal(mask.defect, FIRST | SECOND)
    assert np.array_equal(mask.ignored, RIM) if ignored else mask.ignored is None


@pytest.mark.parametrize(
    "drawn",
    [
        values(0, 255, 255),
        values(0, 1, 1),
        values(0, 128, 128),
        values(40, 255, 255),  # a background that is not black
        values(0, 1, 2),
        values(0, 1, 31),
        values(0, 85, 170),
        values(0, 128, 255),
    ],
)
def test_every_nonzero_value_of_a_mask_without_an_ignore_value_is_defect(tmp_path, drawn):
    assert_reads(read_mask(save(tmp_path / "gray.png", drawn)))
    assert_reads(read_mask(save(tmp_path / "color.png", np.repeat(drawn[..., None], 3, 2))))
    assert_reads(read_mask(save(tmp_path / "gray.tif", drawn)))
    assert_reads(read_mask(save(tmp_path / "gray.bmp", drawn)))


def test_the_highest_value_beside_class_numbers_is_ignored(tmp_path):
    assert_reads(read_mask(save(tmp_path / "8.png", values(0, 1, 2, rim=255))), ignored=True)
    deep = values(0, 1, 2, rim=255).astype(np.uint16)
    assert_reads(read_mask(save_png16(tmp_path / "255.png", deep)), ignored=True)
    assert_reads(read_mask(save_png16(tmp_path / "65535.png", np.where(RIM, 65535, deep))), ignored=True)
    tifffile.imwrite(tmp_path / "signed.tif", deep.astype(np.int16))
    assert_reads(read_mask(tmp_path / "signed.tif"), ignored=True)


def test_indices_of_a_colored_palette_are_class_numbers(tmp_path):
    picture = Image.fromarray(values(0, 1, 7, rim=255))
    colors = np.random.default_rng(1).integers(0, 256, (256, 3))
    colors[0] = 0
    picture.putpalette(colors.astype(np.uint8).ravel().tolist())
    picture.save(tmp_path / "voc.png")
    assert_reads(read_mask(tmp_path / "voc.png"), ignored=True)
    inverted = Image.fromarray(values(1, 0, 0))
    inverted.putpalette([255, 255, 255, 0, 0, 0])
    inverted.save(tmp_path / "inverted.png")
    assert_reads(read_mask(tmp_path / "inverted.png"))


@pytest.mark.parametrize("quality", [30, 60, 75, 95, 100])
def test_compression_noise_of_jpeg_is_no_class(tmp_path, quality):
    rng = np.random.default_rng(quality)
    truth = np.kron(rng.random((6, 8)) < 0.4, np.ones((16, 16))) > 0
    truth = np.roll(truth, (5, 3), (0, 1))  # not aligned with the blocks of JPEG
    save(tmp_path / "mask.jpg", (truth * 255).astype(np.uint8), quality=quality)
    found = read_mask(tmp_path / "mask.jpg")
    assert found.ignored is None
    assert (found.defect != truth).mean() < 0.01
    Image.open(tmp_path / "mask.jpg").save(tmp_path / "again.png")
    assert np.array_equal(read_mask(tmp_path / "again.png").defect, found.defect)


def test_soft_edges_are_cut_at_half_of_the_maximum(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    assert np.array_equal(read_mask(save(tmp_path / "ramp.png", ramp)).defect, ramp >= 128)
    assert not read_mask(save(tmp_path / "empty.png", ramp * 0)).defect.any()


def test_masks_with_unusable_content_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "bands.tif", np.zeros((8, 8, 5), np.uint8), photometric="minisblack", planarconfig=1)
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((8, 8), np.nan, np.float32))
    (tmp_path / "text.png").write_text("no picture")
    for name, problem in {"bands.tif": "5 bands", "pages.tif": "3 pages", "nan.tif": "NaN", "text.png": ""}.items():
        with pytest.raises(InputError, match=rf"{name}: .*{problem}"):
            read_mask(tmp_path / name)


def test_a_mask_of_another_size_than_its_image_is_refused_after_orientation(tmp_path):
    path = save(tmp_path / "mask.png", values(0, 1, 1))
    assert_reads(read_mask_of(path, *SHAPE))
    with pytest.raises(InputError, match=r"mask.png: the mask is 40 x 56, its image 56 x 40"):
        read_mask_of(path, *SHAPE[::-1])
    turned = save_oriented(tmp_path / "turned.png", values(0, 255, 255), 6)
    assert read_mask_of(turned, *SHAPE[::-1]).defect.sum() == (FIRST | SECOND).sum()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 255), min_size=1, max_size=5, unique=True),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_a_mask_says_of_each_pixel_that_it_is_normal_defect_or_ignored(levels, seed, lossy):
    drawn = np.random.default_rng(seed).choice(np.array(levels, np.uint8), (5, 7))
    mask = interpret_mask(drawn, lossy=lossy)
    assert mask.defect.shape == drawn.shape
    assert mask.defect.any() == bool((drawn > 0).any() and mask.defect.any())
    assert not mask.defect[drawn == 0].any()
    if mask.ignored is not None:
        assert not (mask.defect & mask.ignored).any()
        assert set(np.unique(drawn[mask.ignored])) == {255}
    if len(np.unique(drawn[drawn > 0])) == 1:
        assert np.array_equal(mask.defect, drawn > 0)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_mask_files_are_read_or_refused_by_name(tmp_path_factory, data):
    folder: Path = tmp_path_factory.mktemp("damaged")
    suffix = data.draw(st.sampled_from([".png", ".jpg", ".tif", ".bmp"]))
    path = save(folder / f"mask{suffix}", values(0, 1, 2, rim=255))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    message = ""
    try:
        assert read_mask(path).defect.ndim == 2
    except InputError as error:
        message = str(error)
    assert not message or (path.name in message and message.isprintable())
