"""Writes the image files that tests read: every kind a camera, a scanner or an editor leaves behind."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def gradient(height: int, width: int, channels: int = 3, top: int = 255) -> np.ndarray:
    """Integer H x W x C with a different value nearly everywhere, from 0 to ``top``, no symmetry."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 2 + columns, rows + 3 * columns, 4 * rows + columns][:channels]
    stack = np.stack([plane / plane.max() for plane in planes], axis=-1)
    return np.rint(stack * top).astype(np.uint32 if top > 65535 else np.uint16 if top > 255 else np.uint8)


def save(path: Path, values: np.ndarray, mode: str | None = None, **options: object) -> Path:
    """Write uint8 values through Pillow, converted to ``mode`` first."""
    image = Image.fromarray(values.squeeze())
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def save_oriented(path: Path, values: np.ndarray, orientation: int, **options: object) -> Path:
    """As :func:`save`, with an EXIF orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    return save(path, values, exif=exif, **options)


def save_png16(path: Path, values: np.ndarray) -> Path:
    """16-bit PNG written byte by byte, so that no library that the package uses has a part in it."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.reshape(height, width * channels).astype(">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )
    return path


def huge_png_header(path: Path, height: int, width: int) -> Path:
    """PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"IHDR" + header
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\x10IDAT"
    )
    return path


def digests(folder: Path) -> dict[str, str]:
    """Path below a folder -> hash of the content, of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
