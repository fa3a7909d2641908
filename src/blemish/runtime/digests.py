"""SHA-256 digests: of values, of arrays, and of everything besides images and settings that decides a result's bits."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import __version__

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "numba", "pillow", "tifffile", "imagecodecs")
"""Packages whose version can change a result."""


def digest(*parts: object) -> str:
    """SHA-256 of numbers, strings, and lists or tuples of them.

    >>> digest("a", (1, 2.5)) == digest("a", [1, 2.5]) != digest("a", 1, 2.5)
    True
    """
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def array_digest(values: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    sha = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


@functools.cache
def source_digest() -> str:
    """SHA-256 of the package's source files. After an edit, no earlier cache entry is used."""
    root = Path(__file__).parent.parent
    sha = hashlib.sha256(__version__.encode())
    for path in sorted(root.rglob("*.py")):
        sha.update(f"{path.relative_to(root).as_posix()}\n".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()


def environment_digest(device: str, weights: str) -> str:
    """SHA-256 of code, libraries, processor, number of threads, device and backbone weights."""
    from importlib.metadata import version

    import torch

    where = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    machine = (platform.machine(), platform.python_version(), where, torch.get_num_threads())
    return digest(source_digest(), [version(name) for name in LIBRARIES], machine, device, weights)
