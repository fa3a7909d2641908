from __future__ import annotations

import logging
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from blemish.errors import InputError
from blemish.images import (
    ImageInfo,
    decode,
    probe,
)
from blemish.images.decoding.decoders import probe_pages
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


@pytest.mark.parametrize("options", [{"photometric": "minisblack"}, {"imagej": True}])
def test_each_page_of_a_tiff_is_an_image(tmp_path, options):
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([GRAY, 255 - GRAY]), **options)
    assert_good(tmp_path / "pages.tif", as_rgb(GRAY))
    assert probe_pages(tmp_path / "pages.tif") == [ImageInfo(21, 34, 8, 1)] * 2
    np.testing.assert_allclose(decode(tmp_path / "pages.tif", page=1), as_rgb(255 - GRAY), atol=1e-6)
    for read in (probe, decode):
        with pytest.raises(InputError, match=r"pages.tif: has 2 pages, and page 3"):
            read(tmp_path / "pages.tif", page=2)


def test_previews_and_transparency_masks_in_a_tiff_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "t.tif") as writer:
        writer.write(GRAY[::4, ::4], subfiletype=1)
        writer.write(GRAY, subfiletype=0)
        writer.write(GRAY > 9, subfiletype=4)
    assert probe_pages(tmp_path / "t.tif") == [ImageInfo(21, 34, 8, 1)]
    assert_good(tmp_path / "t.tif", as_rgb(GRAY))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.avif"])
def test_each_frame_of_an_animation_is_an_image(tmp_path, name):
    frames = [Image.fromarray(np.full((20, 30, 3), value, np.uint8)) for value in (40, 200, 120)]
    options = {} if name in ("a.gif", "a.png") else {"quality": 95}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50, **options)
    assert len(probe_pages(tmp_path / name)) == 3
    means = [255 * decode(tmp_path / name, page=page).mean() for page in range(3)]
    np.testing.assert_allclose(means, [40, 200, 120], atol=3)


def test_further_pictures_in_a_jpeg_are_no_pages(tmp_path):
    pictures = [Image.fromarray(RGB), Image.fromarray(RGB[::2, ::2])]
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pictures[1:])
    assert probe_pages(tmp_path / "a.jpg") == [ImageInfo(21, 34, 8, 3)]


def test_more_than_four_bands_need_a_choice(tmp_path):
    bands = np.concatenate([RGB, 255 - RGB], -1)
    tifffile.imwrite(tmp_path / "bands.tif", bands, photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputError, match=r"bands.tif: holds 6 bands; save 1 of them as gray or 3 of them as RGB"):
        decode(tmp_path / "bands.tif")
    tifffile.imwrite(tmp_path / "rgb.tif", bands, photometric="rgb", extrasamples=[0, 0, 0])
    assert_good(tmp_path / "rgb.tif", as_rgb(RGB))


def test_a_volume_is_refused_with_a_remedy(tmp_path):
    tifffile.imwrite(
        tmp_path / "v.tif", np.zeros((4, 32, 32), np.uint8), photometric="minisblack", volumetric=True, tile=(4, 16, 16)
    )
    with pytest.raises(InputError, match=r"v.tif: is a volume of 4 slices"):
        decode(tmp_path / "v.tif")


@pytest.mark.parametrize("channels", [1, 3])
def test_pgm_and_ppm_of_every_depth(tmp_path, channels):
    for top in (255, 4095, 65535):
        deep = gradient(9, 14, channels, top)
        kind = b"P5" if channels == 1 else b"P6"
        data = deep.astype(">u2" if top > 255 else "u1").tobytes()
        (tmp_path / "a.pnm").write_bytes(kind + b"\n# drawn\n14 9\n%d\n" % top + data)
        white = top if 255 < top < 65535 else None
        assert_good(tmp_path / "a.pnm", as_rgb(deep, top), white=white)
        info = probe(tmp_path / "a.pnm")
        assert (info.bits, info.channels, info.white) == (8 if top == 255 else 16, channels, white)
        (tmp_path / "a.pnm").write_bytes((tmp_path / "a.pnm").read_bytes()[:-7])
        with pytest.raises(InputError, match=r"a.pnm"):
            decode(tmp_path / "a.pnm")


def test_jpeg_2000_keeps_its_depth(tmp_path):
    import imagecodecs

    for bits, name in ((8, "a.jp2"), (12, "b.jp2"), (16, "c.jp2")):
        deep = gradient(40, 50, 3, 2**bits - 1)
        data = imagecodecs.jpeg2k_encode(deep, level=0, codecformat="jp2", bitspersample=bits, reversible=True)
        (tmp_path / name).write_bytes(data)
        assert_good(tmp_path / name, as_rgb(deep, 2**bits - 1), white=2**bits - 1)
        assert probe(tmp_path / name).white == (4095 if bits == 12 else None)
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=name):
            decode(tmp_path / name)


def test_8_bit_png_agrees_with_pillow_in_every_color_type(tmp_path):
    rng = np.random.default_rng(3)
    color = Image.fromarray(rng.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    for number, image in enumerate(
        [color, color.convert("L"), color.convert("1"), color.quantize(3), color.quantize(200)]
    ):
        for options in ({}, {"transparency": 0} if image.mode != "RGB" else {"transparency": (1, 2, 3)}):
            path = tmp_path / f"{number}.png"
            image.save(path, **options)
            with Image.open(path) as opened:
                expected = np.asarray(opened.convert("RGBA"))[..., :3]
            assert_good(path, as_rgb(expected))


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
    vast = huge_png_header(tmp_path / "vast.png", 60000, 40000)
    for reader in (decode, probe):
        with pytest.raises(InputError, match=r"vast.png: 60000 x 40000 pixels .* tiles"):
            reader(vast)
    limit = Image.MAX_IMAGE_PIXELS
    large = huge_png_header(tmp_path / "large.png", 19000, 20000)  # Pillow alone calls this a decompression bomb
    assert probe(large) == ImageInfo(19000, 20000, 8, 1)
    assert limit == Image.MAX_IMAGE_PIXELS


def rewritten_png(path: Path, change) -> Path:
    """The PNG with ``change(kind, body)`` as the new body of each chunk, under a fresh checksum."""
    data, at, out = path.read_bytes(), 8, [path.read_bytes()[:8]]
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        body = change(kind, body)
        out.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
        at += 12 + length
    path.write_bytes(b"".join(out))
    return path


def test_a_png_with_lost_bytes_flipped_bits_or_missing_rows_is_damaged(tmp_path):
    noise = np.random.default_rng(5).integers(0, 256, (96, 96), dtype=np.uint8)
    whole = save(tmp_path / "whole.png", noise).read_bytes()
    place = tmp_path / "damaged.png"
    lost, flipped = bytearray(whole), bytearray(whole)
    lost[len(lost) // 3 : len(lost) // 3 + 512] = bytes(512)
    flipped[len(flipped) // 2] ^= 1
    half = b"".join(b"\0" + row.tobytes() for row in noise[:48])
    place.write_bytes(whole)
    rows = rewritten_png(place, lambda kind, body: zlib.compress(half) if kind == b"IDAT" else body).read_bytes()
    for content in (bytes(lost), bytes(flipped), rows):
        place.write_bytes(content)
        with pytest.raises(InputError, match=r"damaged.png: cannot be read as an image"):
            decode(place)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
def test_a_tiff_with_missing_rows_is_damaged(tmp_path, compression):
    noise = np.random.default_rng(6).integers(0, 256, (64, 40), dtype=np.uint8)
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, noise, compression=compression, rowsperstrip=64)
    assert_good(path, as_rgb(noise))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        page = tiff.pages[0]
        page.tags["ImageLength"].overwrite(96)
        page.tags["RowsPerStrip"].overwrite(96)
    with pytest.raises(InputError, match=r"t.tif"):
        decode(path)


def test_a_tiff_without_its_last_strips_is_truncated(tmp_path):
    noise = np.random.default_rng(7).integers(0, 256, (64, 40), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "t.tif", noise, compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(tmp_path / "t.tif", mode="r+") as tiff:
        tag = tiff.pages[0].tags["StripByteCounts"]
        tag.overwrite([*tag.value[:-1], 0])
    with pytest.raises(InputError, match=r"t.tif: the file is truncated"):
        decode(tmp_path / "t.tif")


def test_a_later_page_that_cannot_be_read_is_named(tmp_path):
    with tifffile.TiffWriter(tmp_path / "t.tif") as writer:
        writer.write(GRAY)
        writer.write(np.zeros((5, 6, 7), np.uint8), photometric="minisblack", planarconfig="contig")
        writer.write(GRAY)
    first, second, third = probe_pages(tmp_path / "t.tif")
    assert first == third == ImageInfo(21, 34, 8, 1)
    assert "t.tif: holds 7 bands" in str(second)


def test_memory_is_counted_in_bytes_of_all_bands(tmp_path):
    tifffile.imwrite(tmp_path / "t.tif", np.zeros((300, 200, 4), np.uint16), photometric="rgb", extrasamples=[2])
    megabytes = 300 * 200 * (4 * 2 + 12) / 1e6
    assert probe(tmp_path / "t.tif").megabytes == pytest.approx(megabytes)
    decode(tmp_path / "t.tif", max_megabytes=megabytes + 0.01)
    for read in (probe, decode):
        with pytest.raises(InputError, match=r"t.tif: 300 x 200 pixels in 4 bands take 1 MB .* raise the limit"):
            read(tmp_path / "t.tif", max_megabytes=megabytes - 0.01)


FORMATS = [".png", ".jpg", ".tif", ".bmp", ".webp", ".gif", ".pgm", ".jp2", ".avif"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMATS), st.integers(0, 2**32 - 1), st.integers(0, 8), st.floats(0, 1), st.booleans())
def test_any_bytes_give_an_image_or_an_error_that_names_the_file(tmp_path, suffix, seed, changes, share, cut):
    rng = np.random.default_rng(seed)
    path = tmp_path / f"drawn{suffix}"
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        Image.fromarray(gradient(24, 31, 1)[..., 0]).save(whole)
    data = bytearray(whole.read_bytes())
    for _ in range(changes):
        data[int(rng.integers(len(data)) * (1 if rng.random() < 0.5 else 0.1))] = int(rng.integers(256))
    path.write_bytes(data[: int(share * len(data))] if cut else data)
    messages, images = list[str](), list[np.ndarray]()
    try:
        pages = probe_pages(path)
        images = [decode(path, page=page) for page, info in enumerate(pages) if isinstance(info, ImageInfo)]
    except InputError as error:
        messages.append(str(error))
    assert all(path.name in message and "\n" not in message for message in messages)
    for image in images:
        assert image.dtype == np.float32
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 0 <= image.min() <= image.max() <= 1


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = save(tmp_path / "e.jpg", RGB, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f\x01\0garbage", quality=98, subsampling=0)
    assert_good(path, as_rgb(RGB), 0.02)


@pytest.mark.parametrize("white", [0, -1, math.nan, math.inf])
def test_a_white_level_must_be_a_positive_number(tmp_path, white):
    path = save_png16(tmp_path / "d.png", gradient(8, 9, 1, 65535))
    with pytest.raises(InputError, match="white level"):
        decode(path, white=white)
