from __future__ import annotations

import logging
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from blemish.errors import InputError
from blemish.images.loading import (
    IMAGE_SUFFIXES,
    ImageInfo,
    common_scale,
    decode,
    find_images,
    load,
    plan_sizes,
    probe,
    resize,
    target_size,
    white_level,
)
from helpers.files import gradient, huge_png_header, save, save_oriented, save_png16

RGB = gradient(21, 34)
GRAY = gradient(21, 34, 1)[..., 0]
DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def as_rgb(values: np.ndarray, top: float = 255.0) -> np.ndarray:
    values = values if values.ndim == 3 else values[..., None]
    return np.broadcast_to(values / top, (*values.shape[:2], 3)).astype(np.float32)


def assert_good(path: Path, expected: np.ndarray, tolerance: float = 1e-6, **options: float) -> None:
    image = decode(path, **options)
    assert image.dtype == np.float32
    assert image.flags["C_CONTIGUOUS"]
    assert image.min() >= 0
    assert image.max() <= 1
    info = probe(path)
    assert (info.height, info.width, 3) == image.shape
    np.testing.assert_allclose(image, expected, atol=tolerance)


# ---- finding


def test_find_images_sorts_recurses_and_leaves_out_what_is_hidden(tmp_path):
    names = ["b.png", "a/z.JPG", "a/b/c.tiff", "A.bmp", "ü\n1.webp", "n" * 240 + ".jpeg", "a.tif"]
    others = [".hidden.png", ".git/x.png", "notes.txt", "a/labels.csv", "png"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == sorted(names)
    assert {p.suffix.lower() for p in find_images(tmp_path)} == set(IMAGE_SUFFIXES)


def test_find_images_enters_linked_folders_once_and_survives_loops(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/1.png").write_bytes(b"x")
    elsewhere = tmp_path.parent / (tmp_path.name + "-elsewhere")
    elsewhere.mkdir()
    (elsewhere / "2.png").write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "real/loop")
    os.symlink(tmp_path / "real", tmp_path / "again")
    os.symlink(elsewhere, tmp_path / "linked")
    os.symlink("nowhere.png", tmp_path / "broken.png")
    os.symlink("self.png", tmp_path / "self.png")
    found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)]
    assert found == ["broken.png", "linked/2.png", "real/1.png", "self.png"]
    with pytest.raises(InputError, match=r"broken.png: no such file"):
        decode(tmp_path / "broken.png")
    with pytest.raises(InputError, match=r"self.png"):
        decode(tmp_path / "self.png")


def test_find_images_leaves_out_excluded_folders(tmp_path):
    for name in ("1.png", "out/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_images(tmp_path, exclude=[tmp_path / "out"]) == [tmp_path / "1.png"]


def test_find_images_says_what_is_wrong_with_the_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        find_images(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"no images found \(1 other files seen\).*\.png.*\.webp") as caught:
        find_images(tmp_path)
    assert "\n" not in str(caught.value)


# ---- decoding: kinds


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 1e-6),
        ("a.bmp", {}, 1e-6),
        ("a.webp", {"lossless": True}, 1e-6),
        ("a.tif", {"compression": "tiff_lzw"}, 1e-6),
        ("a.tiff", {"compression": "jpeg", "quality": 95}, 0.05),
        ("a.jpg", {"quality": 95, "subsampling": 0}, 0.03),
        ("jpeg-called.png", {"format": "JPEG", "quality": 95, "subsampling": 0}, 0.03),
    ],
)
def test_decode_rgb_and_gray_in_every_format(tmp_path, name, options, tolerance):
    assert_good(save(tmp_path / name, RGB, **options), as_rgb(RGB), tolerance)
    assert probe(tmp_path / name) == ImageInfo(21, 34, 8, 3)
    assert_good(save(tmp_path / name, GRAY, **options), as_rgb(GRAY), tolerance)
    assert probe(tmp_path / name).channels == (3 if name.endswith("webp") else 1)


def test_alpha_is_dropped_and_the_stored_colors_stay(tmp_path):
    alpha = gradient(21, 34, 2)[..., 1:]
    assert_good(save(tmp_path / "rgba.png", np.concatenate([RGB, alpha], -1)), as_rgb(RGB))
    Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha[..., 0])]).save(tmp_path / "la.png")
    assert_good(tmp_path / "la.png", as_rgb(GRAY))
    tifffile.imwrite(tmp_path / "rgba.tif", np.concatenate([RGB, alpha], -1), photometric="rgb", extrasamples=[2])
    assert_good(tmp_path / "rgba.tif", as_rgb(RGB))
    tifffile.imwrite(
        tmp_path / "la.tif", np.stack([GRAY, alpha[..., 0]], -1), photometric="minisblack", extrasamples=[2]
    )
    assert_good(tmp_path / "la.tif", as_rgb(GRAY))


def test_palette_images_show_their_colors_even_with_transparent_entries(tmp_path):
    image = Image.fromarray(RGB).quantize(32)
    expected = as_rgb(np.asarray(image.convert("RGB")))
    image.save(tmp_path / "p.png")
    image.save(tmp_path / "p.bmp")
    image.save(tmp_path / "p.tif")
    image.save(tmp_path / "t.png", transparency=bytes([0, 128] + [255] * 30))
    for name in ("p.png", "p.bmp", "p.tif", "t.png"):
        assert_good(tmp_path / name, expected)


def test_bilevel_images_use_the_whole_range(tmp_path):
    bits = GRAY > 100
    Image.fromarray(bits).save(tmp_path / "b.png")
    Image.fromarray(bits).save(tmp_path / "b.tif", compression="group4")
    tifffile.imwrite(tmp_path / "c.tif", bits, photometric="minisblack")
    for name in ("b.png", "b.tif", "c.tif"):
        assert_good(tmp_path / name, as_rgb(bits, 1))
        assert probe(tmp_path / name).bits == 1


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = Image.fromarray(RGB).convert("CMYK")
    expected = as_rgb(np.asarray(cmyk.convert("RGB")))
    cmyk.save(tmp_path / "c.jpg", quality=98, subsampling=0)
    assert_good(tmp_path / "c.jpg", expected, 0.05)
    cmyk.save(tmp_path / "c.tif")
    assert_good(tmp_path / "c.tif", expected, 0.005)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_keeps_its_depth(tmp_path, channels):
    deep = gradient(9, 14, 3, 65535)
    deep = np.concatenate([deep, deep[..., :1]], -1)[..., :channels]
    path = save_png16(tmp_path / "d.png", deep)
    shown = deep[..., :3] if channels >= 3 else deep[..., :1]
    assert_good(path, as_rgb(shown, 65535))
    assert_good(path, np.clip(as_rgb(shown, 4095), 0, 1), white=4095)
    assert probe(path) == ImageInfo(9, 14, 16, 3 if channels >= 3 else 1)


def test_tiff_of_16_bits_in_every_layout(tmp_path):
    deep = gradient(40, 70, 3, 65535)
    for name, options in {
        "strips": {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
        "tiles": {"tile": (16, 16), "compression": "lzw"},
        "big": {"bigtiff": True, "byteorder": ">"},
    }.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", deep, photometric="rgb", **options)
        assert_good(tmp_path / f"{name}.tif", as_rgb(deep, 65535))
    planar = np.ascontiguousarray(deep.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "planar.tif", planar, photometric="rgb", planarconfig="separate")
    assert_good(tmp_path / "planar.tif", as_rgb(deep, 65535))
    tifffile.imwrite(tmp_path / "white.tif", 65535 - deep[..., 0], photometric="miniswhite")
    assert_good(tmp_path / "white.tif", as_rgb(deep[..., 0], 65535))


def test_tiff_takes_the_first_page_and_the_first_three_bands(tmp_path):
    pages = np.stack([GRAY, 255 - GRAY])
    tifffile.imwrite(tmp_path / "pages.tif", pages, photometric="minisblack")
    assert_good(tmp_path / "pages.tif", as_rgb(GRAY))
    tifffile.imwrite(tmp_path / "imagej.tif", pages, imagej=True)
    assert_good(tmp_path / "imagej.tif", as_rgb(GRAY))
    bands = np.concatenate([RGB, 255 - RGB], -1)
    tifffile.imwrite(tmp_path / "bands.tif", bands, photometric="minisblack", planarconfig="contig")
    assert_good(tmp_path / "bands.tif", as_rgb(RGB))


def test_tiff_of_floats_is_taken_as_it_is_or_scaled_by_the_white_level(tmp_path):
    values = (RGB / 255).astype(np.float32)
    for dtype in (np.float16, np.float32, np.float64):
        tifffile.imwrite(tmp_path / "f.tif", values.astype(dtype), photometric="rgb")
        assert_good(tmp_path / "f.tif", values, 1e-3 if dtype == np.float16 else 1e-6)
    assert probe(tmp_path / "f.tif") == ImageInfo(21, 34, 64, 3, floating=True)
    tifffile.imwrite(tmp_path / "g.tif", values * 200, photometric="rgb")
    assert_good(tmp_path / "g.tif", values, white=200)
    with pytest.raises(InputError, match=r"g.tif: floating-point values up to 200"):
        decode(tmp_path / "g.tif")
    for value, problem in ((math.nan, "NaN"), (math.inf, "NaN"), (-math.inf, "NaN"), (-5, "negative")):
        spoiled = values.copy()
        spoiled[3, 4, 1] = value
        tifffile.imwrite(tmp_path / "bad.tif", spoiled, photometric="rgb")
        with pytest.raises(InputError, match=f"bad.tif.*{problem}"):
            decode(tmp_path / "bad.tif", white=200)


def test_tiff_whose_channels_differ_in_bits_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "565.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    data = (tmp_path / "565.tif").read_bytes()
    assert data.count(struct.pack("<3H", 8, 8, 8)) == 1
    (tmp_path / "565.tif").write_bytes(data.replace(struct.pack("<3H", 8, 8, 8), struct.pack("<3H", 5, 6, 5)))
    for read in (probe, decode):
        with pytest.raises(InputError, match=r"565.tif: its channels have \(5, 6, 5\) bits"):
            read(tmp_path / "565.tif")


def test_tiff_of_signed_integers_needs_values_from_zero_up(tmp_path):
    values = gradient(8, 9, 1, 30000)[..., 0].astype(np.int16)
    tifffile.imwrite(tmp_path / "s.tif", values)
    assert_good(tmp_path / "s.tif", as_rgb(values, 32767))
    tifffile.imwrite(tmp_path / "n.tif", values - 5)
    with pytest.raises(InputError, match=r"n.tif.*negative"):
        decode(tmp_path / "n.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone_in_every_format(tmp_path, orientation):
    for name, options in (
        ("o.jpg", {"quality": 98, "subsampling": 0}),
        ("o.png", {}),
        ("o.tif", {}),
        ("o.webp", {"lossless": True}),
    ):
        path = save_oriented(tmp_path / name, RGB, orientation, **options)
        with Image.open(path) as image:
            upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert upright.shape[:2] == ((34, 21) if orientation >= 5 else (21, 34))
        assert_good(path, as_rgb(upright), 0.01 if name == "o.jpg" else 1e-6)


def test_every_kind_of_image_gives_the_same_picture(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16) * 257, photometric="rgb")
    save_png16(tmp_path / "a.png", RGB.astype(np.uint16) * 257)
    save(tmp_path / "b.png", RGB)
    first, *rest = [decode(tmp_path / name) for name in ("a.tif", "a.png", "b.png")]
    for other in rest:
        np.testing.assert_allclose(other, first, atol=1e-6)


# ---- decoding: what goes wrong


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_damaged_files_are_named_in_one_line(tmp_path, suffix, caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole{suffix}", noise).read_bytes()
    damaged = tmp_path / f"dam\naged{suffix}"
    for content in (whole[: len(whole) // 2], whole[:40], whole[:3], b"", b"no image at all" * 9, b"\0" * 500):
        damaged.write_bytes(content)
        with pytest.raises(InputError, match=r"dam\\naged") as caught:
            decode(damaged)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_things_that_are_no_files_are_named(tmp_path):
    (tmp_path / "x.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, problem in (
        ("x.png", "is a folder"),
        ("pipe.png", "is not a regular file"),
        ("gone.png", "no such file"),
    ):
        for reader in (decode, probe):
            with pytest.raises(InputError, match=f"{name}: {problem}"):
                reader(tmp_path / name)


def test_vast_images_are_refused_before_decoding_and_large_ones_do_not_warn(tmp_path):
    vast = huge_png_header(tmp_path / "vast.png", 30000, 20000)
    for reader in (decode, probe):
        with pytest.raises(InputError, match=r"vast.png: 30000 x 20000 pixels .* tiles"):
            reader(vast)
    limit = Image.MAX_IMAGE_PIXELS
    large = huge_png_header(tmp_path / "large.png", 19000, 20000)  # Pillow alone calls this a decompression bomb
    assert probe(large) == ImageInfo(19000, 20000, 8, 1)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "e.jpg", RGB, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f\x01\0garbage", quality=98, subsampling=0)
    assert_good(path, as_rgb(RGB), 0.02)


@pytest.mark.parametrize("white", [0, -1, math.nan, math.inf])
def test_a_white_level_must_be_a_positive_number(tmp_path, white):
    path = save_png16(tmp_path / "d.png", gradient(8, 9, 1, 65535))
    with pytest.raises(InputError, match="white level"):
        decode(path, white=white)


# ---- one white level


@pytest.mark.parametrize(
    ("top", "level"), [(900, 1023), (1023, 1023), (1024, 4095), (16000, 16383), (16384, 65535), (65535, 65535)]
)
def test_white_level_is_the_smallest_depth_that_holds_the_set(tmp_path, top, level):
    dim = save_png16(tmp_path / "dim.png", gradient(8, 9, 1, 300))
    bright = save_png16(tmp_path / "bright.png", gradient(8, 9, 3, top))
    plain = save(tmp_path / "plain.png", RGB)
    assert white_level([dim, plain, bright]) == level
    assert white_level([bright, tmp_path / "gone.png", dim]) == level
    infos = [probe(dim), None, probe(bright)]
    assert white_level([dim, plain, bright], infos=infos) == level


def test_white_level_is_not_needed_for_8_bits_and_for_unit_floats(tmp_path):
    plain = save(tmp_path / "plain.png", RGB)
    tifffile.imwrite(tmp_path / "f.tif", (GRAY / 255).astype(np.float32))
    assert white_level([plain]) is None
    assert white_level([]) is None
    assert white_level([plain, tmp_path / "f.tif"]) is None
    assert decode(plain, white=4095).max() == 1.0  # 8 bits ignore it
    deep = save_png16(tmp_path / "deep.png", gradient(8, 9, 1, 4000))
    with pytest.raises(InputError, match="mixes"):
        white_level([deep, tmp_path / "f.tif"])


@pytest.mark.parametrize(
    ("top", "level"),
    [(1.05, None), (1.2, 1.2), (60.0, 60.0), (64.0, 255), (200.0, 255), (255.0, 255), (300.0, 1023), (1e12, 1e12)],
)
def test_white_level_of_floats(tmp_path, top, level):
    tifffile.imwrite(tmp_path / "f.tif", np.linspace(0, top, 30).reshape(5, 6))
    assert white_level([tmp_path / "f.tif"]) == level


def test_floats_that_ring_over_white_are_clipped_and_leave_the_others_as_they_are(tmp_path):
    for name, top in (("even.tif", 1.0), ("over.tif", 1.001)):
        tifffile.imwrite(tmp_path / name, np.linspace(0, top, 30, dtype=np.float32).reshape(5, 6))
    white = white_level([tmp_path / "even.tif", tmp_path / "over.tif"])
    for name in ("even.tif", "over.tif"):
        found = decode(tmp_path / name, white=white)
        assert found.max() == 1.0
        assert abs(float(found.mean()) - 0.5) < 1e-3


def test_white_level_samples_the_same_files_for_one_seed(tmp_path):
    paths = [save_png16(tmp_path / f"{i}.png", gradient(4, 5, 1, 900 if i else 60000)) for i in range(12)]
    levels = [white_level(paths, sample=2, seed=seed) for seed in range(40)]
    assert levels == [white_level(paths, sample=2, seed=seed) for seed in range(40)]
    assert set(levels) == {1023.0, 65535.0}
    assert white_level(paths, sample=12) == 65535


# ---- sizes


def slow_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Triangle filter, centers of pixels aligned, weights written out."""

    def weights(old: int, new: int) -> np.ndarray:
        ratio = old / new
        table = np.zeros((new, old))
        for i in range(new):
            center = (i + 0.5) * ratio
            for j in range(old):
                table[i, j] = max(0.0, 1 - abs(j + 0.5 - center) / max(ratio, 1))
        return table / table.sum(1, keepdims=True)

    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("ih,hwc,jw->ijc", rows, image.astype(float), columns)


@pytest.mark.parametrize("shape", [(7, 9), (21, 34), (50, 12), (64, 96), (1, 1)])
def test_resize_agrees_with_weights_written_out(shape):
    image = as_rgb(RGB)
    np.testing.assert_allclose(resize(image, *shape), slow_resize(image, *shape), atol=2e-6)


def test_resize_keeps_constants_range_and_equal_sizes():
    constant = np.full((30, 17, 3), 0.3, np.float32)
    assert np.array_equal(resize(constant, 64, 5), np.full((64, 5, 3), 0.3, np.float32))
    noise = np.random.default_rng(0).random((13, 11, 3), dtype=np.float32)
    assert noise.min() <= resize(noise, 50, 60).min()
    assert resize(noise, 50, 60).max() <= noise.max()
    assert resize(noise, 13, 11) is noise


def test_load_is_decode_then_resize_with_channels_first(tmp_path):
    path = save_png16(tmp_path / "d.png", gradient(21, 34, 3, 4095))
    planes = load(path, 16, 32, white=4095)
    assert planes.shape == (3, 16, 32)
    assert planes.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(planes.transpose(1, 2, 0), resize(decode(path, white=4095), 16, 32))


def test_plan_common_uses_one_factor_and_each_uses_one_area():
    infos = [ImageInfo(h, w, 8, 1) for h, w in ((100, 100), (200, 200), (400, 400), (50, 200), (300, 150))]
    scale = common_scale(infos, 400)
    assert scale == pytest.approx(400 / np.median([math.sqrt(i.height * i.width) for i in infos]))
    common = plan_sizes(infos, 400, "common")
    for info, (height, width) in zip(infos, common, strict=True):
        assert abs(height - info.height * scale) <= 8
        assert abs(width - info.width * scale) <= 8
    for info, (height, width) in zip(infos, plan_sizes(infos, 400, "each"), strict=True):
        assert math.sqrt(height * width) == pytest.approx(400, rel=0.05)
        assert height / width == pytest.approx(info.height / info.width, rel=0.1)
    assert plan_sizes(infos, 512, "squash") == [(512, 512)] * 5
    assert plan_sizes([], 512) == []


def test_plan_sizes_refuses_nonsense():
    with pytest.raises(InputError, match="common, each or squash"):
        plan_sizes([], 512, "stretch")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        plan_sizes([ImageInfo(5, 5, 8, 1)], 0)
    with pytest.raises(InputError, match="no image"):
        common_scale([], 512)


@given(
    st.lists(st.tuples(st.integers(1, 30000), st.integers(1, 30000)), min_size=1, max_size=5),
    st.integers(1, 1500),
    st.sampled_from(["common", "each", "squash"]),
    st.sampled_from([1, 8, 14, 16, 32]),
    st.integers(32, 2048),
)
def test_planned_sides_are_multiples_within_bounds(shapes, size, mode, multiple, max_side):
    infos = [ImageInfo(h, w, 8, 1) for h, w in shapes]
    for height, width in plan_sizes(infos, size, mode, multiple, max_side):
        for side in (height, width):
            assert side % multiple == 0
            assert side >= 32
            if mode != "squash":
                assert side <= max(max_side, multiple * math.ceil(32 / multiple))


def test_target_size_of_a_thin_image_keeps_a_side():
    assert target_size(1, 5000, 1.0) == (32, 2048)
    assert target_size(1, 1, 1.0) == (32, 32)


# ---- real files


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["mtd/magnetic/test/crack", "mvtec-leather/leather/test/cut", "bracol-leaf/leaf/test/rust"]
)
def test_real_images_decode_and_plan(name):
    paths = find_images(DATA / name)[:5]
    infos = [probe(p) for p in paths]
    assert white_level(paths) is None
    for path, info, (height, width) in zip(paths, infos, plan_sizes(infos, 320), strict=True):
        image = decode(path)
        assert image.shape == (info.height, info.width, 3)
        assert 0.02 < image.std() < 0.5
        assert load(path, height, width).shape == (3, height, width)


@pytest.mark.parametrize("mode", ["common", "each"])
def test_images_are_not_enlarged_unless_asked(mode: str) -> None:
    infos = [ImageInfo(100, 200, 8, 3), ImageInfo(160, 160, 8, 3), ImageInfo(100, 100, 8, 3)]
    kept = plan_sizes(infos, 512, mode, enlarge=False)  # type: ignore[arg-type]
    assert kept == [(96, 208), (160, 160), (96, 96)]  # the nearest multiples of 16
    assert all(h > 160 for h, _ in plan_sizes(infos, 512, mode))  # type: ignore[arg-type]
    assert plan_sizes(infos, 80, mode, enlarge=False) == plan_sizes(infos, 80, mode)  # type: ignore[arg-type]
