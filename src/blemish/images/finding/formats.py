"""Recognizing an image file by its first bytes."""

from __future__ import annotations

import re

HEAD_BYTES = 64
"""Bytes at the start of a file that :func:`sniff` needs."""

_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_PNM = re.compile(rb"P[1-6](\s|#[^\n]*\n)+\d")
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)


def sniff(head: bytes) -> str | None:
    r"""Name of the image format that a file with these first bytes has; None if it is no format that can be read.

    >>> sniff(b"P5\n# camera 2\n640 480 255\n"), sniff(b"plain text")
    ('PPM', None)
    """
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return "PPM" if _PNM.match(head) else None
