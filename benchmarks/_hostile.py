"""What a hostile case is, and hostile images: files, names and arrays."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from blemish.config.schema import Config
from blemish.images import ImageSource

READ, SKIPPED, CACHED = "read", "skipped and named", "computed again"
"""What can come of a case, besides an error of one line."""


@dataclass(frozen=True)
class Case:
    """One input that no friend would give.

    Attributes:
        kind: row of the table.
        name: what is wrong with it, or odd.
        run: takes an empty folder, has the input read, and returns what came of it, or raises.
    """

    kind: str
    name: str
    run: Callable[[Path], str]


def rng_of(*words: object) -> np.random.Generator:
    """Random numbers that depend on the words alone."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with some bytes changed, and with its end cut off in half of the draws."""
    values = bytearray(content)
    for place in rng.integers(0, len(values), int(rng.integers(1, 6))):
        values[int(place)] = int(rng.integers(0, 256))
    return bytes(values[: int(rng.integers(0, len(values)))] if rng.random() < 0.5 else values)


# Files


def image_cases() -> Iterator[Case]:
    """Damaged files of each format, and sound files of odd kinds."""
    for suffix in ("png", "jpg", "tif", "bmp", "webp", "gif", "ppm"):
        for seed in range(9):
            yield Case("images, damaged", f"{suffix.upper()}, draw {seed}", partial(_read_damaged, suffix, seed))
        yield Case(
            "images, damaged",
            f"{suffix.upper()} under the suffix .dat",
            partial(_read_bytes, _encoded(suffix), "a.dat"),
        )
        yield Case(
            "images, damaged",
            f"{suffix.upper()}, the first byte alone",
            partial(_read_bytes, _encoded(suffix)[:1], f"a.{suffix}"),
        )
    for name, values in _odd_arrays().items():
        yield Case("images, odd", f"TIFF, {name}", partial(_read_tiff, values))
    for name, content in _odd_files().items():
        yield Case("images, odd", name, partial(_read_bytes, content, "a.png"))


def _encoded(suffix: str, image: Image.Image | None = None, **options: Any) -> bytes:
    if image is None:
        rng = rng_of("image", suffix)
        image = Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8))
    stream = io.BytesIO()
    image.save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
    return stream.getvalue()


def _read_damaged(suffix: str, seed: int, folder: Path) -> str:
    return _read_bytes(damaged(_encoded(suffix), rng_of(suffix, seed)), f"a.{suffix}", folder)


def _read_bytes(content: bytes, name: str, folder: Path) -> str:
    """Read a folder with this file beside a sound one."""
    (folder / name).write_bytes(content)
    (folder / "sound.png").write_bytes(_encoded("png"))
    return read_folder(folder)


def read_folder(folder: Path) -> str:
    """Decode every image of a folder as a run does, and check the numbers."""
    source = ImageSource(folder, Config().image)
    for index, image in source.stream(range(len(source))):
        if isinstance(image, Exception):
            source.mark_unreadable(index, str(image))
        elif not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise AssertionError("an image has numbers outside 0 to 1")
    source.finish()
    if any("\n" in one.reason for one in source.skipped):
        raise AssertionError("a reason has several lines")
    return SKIPPED if source.skipped or source.passed_over else READ


def _read_tiff(values: Any, folder: Path) -> str:
    tifffile.imwrite(folder / "a.tif", values)
    (folder / "sound.png").write_bytes(_encoded("png"))
    return read_folder(folder)


def _odd_arrays() -> dict[str, npt.NDArray[Any]]:
    rng = rng_of("arrays")
    small = rng.random((20, 30)).astype(np.float32)
    holes = small.copy()
    holes[3, 4] = np.nan
    return {
        "1 x 1": np.ones((1, 1), np.uint8),
        "1 x 5 000": np.ones((1, 5000), np.uint8),
        "5 000 x 1": np.ones((5000, 1), np.uint8),
        "16 bits": (small * 65535).astype(np.uint16),
        "12 bits and a hot pixel": np.where(small > 0.999, 65535, small * 4095).astype(np.uint16),
        "32 bits": (small * 2**31).astype(np.uint32),
        "64 bits": (small * 2**40).astype(np.int64),
        "signed": (small * 200 - 100).astype(np.int16),
        "one NaN": holes,
        "only NaN": np.full((20, 30), np.nan, np.float32),
        "infinite": np.full((20, 30), np.inf, np.float32),
        "negative": -small,
        "denormal": small * np.float32(1e-40),
        "large": small * np.float32(1e30),
        "half precision": small.astype(np.float16),
        "double precision": small.astype(np.float64),
        "complex": small.astype(np.complex64),
        "two bands": np.ones((20, 30, 2), np.uint8),
        "five bands": np.ones((20, 30, 5), np.uint8),
        "200 bands": np.ones((20, 30, 200), np.uint8),
        "60 pages": np.ones((60, 20, 30), np.uint8),
        "constant": np.full((20, 30), 128, np.uint8),
    }


def _odd_files() -> dict[str, bytes]:
    base = Image.fromarray(rng_of("modes").integers(0, 256, (40, 50, 3)).astype(np.uint8))
    frames = [base.rotate(angle) for angle in (90, 180)]
    exif = Image.Exif()
    rotated = {}
    for orientation in (0, 2, 5, 6, 8, 9, 65535):
        exif[274] = orientation
        rotated[f"EXIF orientation {orientation}"] = _encoded("jpg", base, exif=exif)
    return {
        "CMYK": _encoded("jpg", base.convert("CMYK")),
        "palette": _encoded("png", base.convert("P")),
        "gray and alpha": _encoded("png", base.convert("LA")),
        "one bit": _encoded("png", base.convert("1")),
        "animated GIF": _encoded("gif", base, save_all=True, append_images=frames),
        "animated PNG": _encoded("png", base, save_all=True, append_images=frames),
        **rotated,
        **{f"PNG that claims {side} x {side} pixels": _png_header(side) for side in (0, 20_000, 2**31 - 1)},
        "PNG with 5 MB of text": _encoded("png")[:33]
        + _chunk(b"tEXt", b"a\0" + b"x" * 5_000_000)
        + _encoded("png")[33:],
        "a ZIP archive": b"PK\x03\x04" + bytes(200),
        "HTML": b"<html><script>alert(1)</script></html>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "zeros": bytes(5000),
        "random bytes": rng_of("bytes").bytes(5000),
    }


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_header(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")


# Names and arrays

NAMES: tuple[bytes, ...] = (
    *(b'"quoted".png', b"it's.png", b"two\nlines.png", b"\r.png", b"-rf.png", b"--out.png", b"=1+1.png", b"@x.png"),
    *(b"\xff\xfe.png", b"a" * 251 + b".png", b"..\\..\\x.png", b"a#2.png", b"a.png#2", b" .png", b"x .png ", b"a.PNG"),
    *(
        "表面.png".encode(),
        "e\u0301.png".encode(),
        "\u202egnp.png".encode(),
        "🧵.png".encode(),
        b"<b>.png",
        b"%s%n.png",
    ),
    *(
        b"\x1b[2J.png",
        b"\x07.png",
        b"a,b;c.png",
        b"a\tb.png",
        b"NUL.png",
        b"con",
        b"~.png",
        b"$HOME.png",
        b"*.png",
        b".png",
    ),
)
"""Names of files, as bytes."""


def name_cases() -> Iterator[Case]:
    """Names that no table, terminal or page likes."""
    for name in NAMES:
        yield Case("names", repr(name)[1:40], partial(_read_name, name))


def _read_name(name: bytes, folder: Path) -> str:
    import csv
    import os

    from blemish.output.tables import path_text

    (folder / "sound.png").write_bytes(_encoded("png"))
    with open(os.fsencode(folder) + b"/" + name, "wb") as file:
        file.write(_encoded("png"))
    outcome = read_folder(folder)
    for one in ImageSource(folder, Config().image).names:
        (cell,) = next(csv.reader(io.StringIO(path_text(one), newline="")))
        if os.path.normpath(cell) != os.path.normpath(one) or cell[:1] in "=+-@":
            raise AssertionError("the table has another name, or a formula")
    return outcome


def array_cases() -> Iterator[Case]:
    """What a program can pass in place of images."""
    good = rng_of("good").integers(0, 256, (40, 50, 3)).astype(np.uint8)
    things: dict[str, Any] = {
        "None": None,
        "a number": 7,
        "an empty list": [],
        "a set": {"a.png"},
        "a generator": (one for one in [good]),
        "a dictionary": {"a": good},
        "text and arrays": ["a.png", good],
        "bytes": b"a.png",
        "nested lists": [[[1, 2], [3, 4]]],
        "no pixels": np.zeros((0, 0, 3), np.uint8),
        "no rows": [np.zeros((0, 5), np.uint8)],
        "no images": np.zeros((0, 4, 4), np.uint8),
        "one dimension": np.zeros(9, np.uint8),
        "five dimensions": np.zeros((1, 1, 4, 4, 3), np.uint8),
        "seven bands": [np.zeros((9, 9, 7), np.uint8)],
        "0 to 255 as float": [good.astype(np.float32)],
        **{
            f"type {kind}": [np.ones((40, 50)).astype(kind)]
            for kind in ("c8", "M8[s]", "m8[s]", "U3", "S3", "O", "?", "i8", "u8", "f2", "f8")
        },
        "structured": [np.zeros((4, 4), [("a", "u1"), ("b", "f4")])],
        "NaN": [np.full((40, 50), np.nan)],
        "infinite": [np.full((40, 50), np.inf)],
        "negative": [np.full((40, 50), -5)],
        "read-only": [_read_only(good)],
        "not contiguous": [good[::2, ::-1]],
        "a masked array": [np.ma.masked_equal(good, 3)],
    }
    for name, thing in things.items():
        yield Case("arrays", name, partial(_read_arrays, thing))


def _read_only(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    values = values.copy()
    values.flags.writeable = False
    return values


def _read_arrays(thing: Any, folder: Path) -> str:
    source = ImageSource(thing, Config().image)
    for index in range(len(source)):
        image = source.small(index)
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise AssertionError("an image has numbers outside 0 to 1")
    return READ
