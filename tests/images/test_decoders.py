from __future__ import annotations

import logging
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from blemish.errors import InputError
from blemish.images import (
    ImageInfo,
    decode,
    probe,
)
from helpers.files import gradient, huge_png_header, save, save_oriented, save_png16

RGB = gradient(21, 34)
GRAY = gradient(21, 34, 1)[..., 0]


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


# ---- damaged files


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


def test_folders_pipes_and_missing_files_are_named(tmp_path):
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


def test_images_above_the_pixel_limit_are_refused_before_decoding(tmp_path):
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
