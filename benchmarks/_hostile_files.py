"""Hostile cases for what is read back: settings, results, cache entries, tables of labels, and masks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from benchmarks._hostile import CACHED, READ, Case, damaged, rng_of
from blemish.config.schema import Config
from blemish.config.sources import known_keys, read_file
from blemish.evaluation.datasets import load_dataset
from blemish.evaluation.masks import read_mask
from blemish.images import ImageSource
from blemish.output import load_result, prepare_output
from blemish.runtime.cache import Cache

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "NUL bytes": b"\0" * 100,
    "not UTF-8": b"\xff\xfe\x80",
    "a list": b"[1, 2]",
    "a number": b"7",
    "deep nesting": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "5 000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "unknown keys": b'{"nonsense": 1, "__class__": "os.system"}',
    "a long word": b"x" * 300_000,
}
"""Contents that no file of ours has."""

SETTINGS_FILES: dict[str, tuple[str, bytes]] = {
    "YAML that makes an object": ("yaml", b"seed: !!python/object/apply:os.system ['echo no']"),
    "YAML aliases": (
        "yaml",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 106))
        + b"image: *i\n",
    ),
    "YAML key given twice": ("yaml", b"seed: 1\nseed: 2\n"),
    "YAML tabs": ("yaml", b"image:\n\tsize: 3"),
    "YAML deep": ("yaml", b"[" * 5000),
    "YAML merge keys": ("yaml", b"a: &a {size: 64}\nimage:\n  <<: *a\n"),
    "TOML 5 000 digits": ("toml", b"seed = " + b"9" * 5000),
    "TOML deep": ("toml", b"a = " + b"[" * 5000),
    "TOML key given twice": ("toml", b"seed = 1\nseed = 2\n"),
    "TOML dates": ("toml", b"seed = 2020-01-01"),
    "TOML not a number": ("toml", b"[localization]\nthreshold = nan"),
    "another suffix": ("ini", b"[image]\nsize=3"),
}
"""Name -> suffix and content."""

VALUES: tuple[Any, ...] = (float("nan"), -1, 10**18, "x" * 1000, [], {}, True, [[1]], "\0", float("inf"))
"""One of these is given to each setting, in turn."""


def settings_cases() -> Iterator[Case]:
    """Values of every setting, and settings files."""
    for number, key in enumerate(known_keys(Config)):
        value = VALUES[number % len(VALUES)]
        yield Case("settings", f"{key} = {repr(value)[:30]}", partial(_take_setting, key, value))
    for name, content in TEXTS.items():
        for suffix in ("toml", "yaml"):
            yield Case("settings", f"{suffix.upper()}, {name}", partial(_read_settings, suffix, content))
    for name, (suffix, content) in SETTINGS_FILES.items():
        yield Case("settings", name, partial(_read_settings, suffix, content))
    for name, make in SPECIAL.items():
        yield Case("settings", f"{name} for a file", partial(_read_special, make, read_file))


def _take_setting(key: str, value: Any, folder: Path) -> str:
    Config.from_values({key: value})
    return READ


def _read_settings(suffix: str, content: bytes, folder: Path) -> str:
    path = folder / f"settings.{suffix}"
    path.write_bytes(content)
    Config.load(path)
    return READ


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
}
"""What can lie where a file is expected."""


def _read_special(make: Callable[[Path], object], read: Callable[[Path], object], folder: Path) -> str:
    make(folder / "special.toml")
    read(folder / "special.toml")
    return READ


def run_file_cases() -> Iterator[Case]:
    """Files of a results folder from someone else: no file outside may be removed, and no text is trusted."""
    header: dict[str, Any] = {"schema": "blemish.run", "schema_version": 1}
    lists: dict[str, Any] = {
        "a path outside": ["../canary"],
        "an absolute path": ["/etc/hostname"],
        "NUL in a path": ["maps/\0.tiff"],
        "numbers": [1, None, {}],
        "text in place of a list": "images.csv",
        "the folder itself": [".", "", "maps/.."],
        "a foreign file": ["canary"],
    }
    documents = {name: json.dumps({**header, "files": files}).encode() for name, files in lists.items()}
    wrong: tuple[tuple[str, Any], ...] = (("counts", []), ("threshold", "high"), ("clusters", {"a": 1}), ("source", 3))
    documents |= {f"{key} of a wrong type": json.dumps({**header, key: value}).encode() for key, value in wrong}
    for name, content in (documents | TEXTS).items():
        yield Case("run.json", f"written over: {name}", partial(_claim, content))
        yield Case("run.json", f"read back: {name}", partial(_read_back, content))


def _claim(content: bytes, folder: Path) -> str:
    results = folder / "results"
    results.mkdir()
    canaries = [folder / "canary", results / "canary"]
    for path in canaries:
        path.touch()
    (results / "run.json").write_bytes(content)
    try:
        with prepare_output(results) as output:
            output.finish({"schema": "blemish.run"})
    finally:
        if not all(path.exists() for path in canaries):
            raise AssertionError("a file of someone else was removed")
    return READ


def _read_back(content: bytes, folder: Path) -> str:
    (folder / "run.json").write_bytes(content)
    load_result(folder)
    return READ


def cache_cases() -> Iterator[Case]:
    """Entries of the cache that are damaged, exchanged or no files: each is computed again."""
    for seed in range(24):
        yield Case("cache entries", f"damaged, draw {seed}", partial(_read_entry, seed))
    for name, content in TEXTS.items():
        yield Case("cache entries", name, partial(_read_entry, content))
    for name, make in SPECIAL.items():
        yield Case("cache entries", f"{name} for an entry", partial(_read_entry, make))


def _read_entry(what: int | bytes | Callable[[Path], object], folder: Path) -> str:
    key, cache = "0" * 64, Cache(folder, 10**7)
    value = {"rows": [np.arange(12, dtype=np.float32).reshape(3, 4)], "unreadable": []}
    cache.put("maps", key, value)
    (path,) = folder.iterdir()
    if isinstance(what, int):
        path.write_bytes(damaged(path.read_bytes(), rng_of("cache", what)))
    elif isinstance(what, bytes):
        path.write_bytes(what)
    else:
        path.unlink()
        what(path)
    found = cache.get("maps", key)
    if found is None:
        return CACHED
    if not np.array_equal(found["rows"][0], value["rows"][0]):
        raise AssertionError("a damaged entry was used")
    return READ


def table_cases() -> Iterator[Case]:
    """Tables of labels."""
    rows = 'path,label\n"a.png",good\n"b.png",hole\n'
    texts = {
        "a newline in a path": 'path,label\n"a\n.png",good\n"b.png",hole\n',
        "a quote that is not closed": 'path,label\n"a.png,good\n',
        "no header": "a.png,good\n",
        "columns twice": "path,path,label\na.png,b.png,good\n",
        "a path outside": "path,label\n../../etc/hostname,good\n",
        "an absolute path": "path,label\n/etc/hostname,good\n",
        "backslashes": "path,label\nx\\a.png,good\n",
        "a missing image": "path,label\nnone.png,good\n",
        "an image twice": "path,label\na.png,good\na.png,hole\n",
        "no label": "path,label\na.png,\n",
        "fewer fields": "path,label\na.png\n",
        "more fields": "path,label\na.png,good,x,y,z\n",
        "semicolons": rows.replace(",", ";"),
        "tabs": rows.replace(",", "\t"),
        "a byte order mark": "\ufeff" + rows,
        "a long field": f"path,label\na.png,{'x' * 200_000}\n",
        "a formula": 'path,label\n"=cmd()",good\n',
        "only a header": "path,label\n",
        "carriage returns": rows.replace("\n", "\r"),
        "a mask that is missing": "path,label,mask\na.png,hole,none.png\n",
        "many lines": "path,label\n" + "a.png,good\n" * 20_000,
    }
    contents = {name: text.encode() for name, text in texts.items()} | {
        "UTF-16": rows.encode("utf-16"),
        "Latin-1": rows.replace("hole", "höle").encode("latin-1"),
    }
    for name, content in (contents | TEXTS).items():
        yield Case("tables of labels", name, partial(_read_table, content))
    for seed in range(12):
        yield Case(
            "tables of labels",
            f"damaged, draw {seed}",
            partial(_read_table, damaged(rows.encode(), rng_of("table", seed))),
        )


def _read_table(content: bytes, folder: Path) -> str:
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((8, 8), 9, np.uint8)).save(folder / name)
    (folder / "labels.csv").write_bytes(content)
    load_dataset(folder / "labels.csv")
    return READ


def mask_cases() -> Iterator[Case]:
    """Masks of labeled sets, and of the region of interest."""
    rng = rng_of("masks", 0)
    masks: dict[str, Any] = {
        "not a number": np.full((9, 9), np.nan, np.float32),
        "infinite": np.full((9, 9), np.inf, np.float32),
        "negative": np.full((9, 9), -1, np.float32),
        "16 bits": rng.integers(0, 65536, (9, 9)).astype(np.uint16),
        "classes and 255": rng.choice([0, 1, 2, 255], (9, 9)).astype(np.uint8),
        "all values": rng.integers(0, 256, (32, 32)).astype(np.uint8),
        "only zeros": np.zeros((9, 9), np.uint8),
        "only 255": np.full((9, 9), 255, np.uint8),
        "color": rng.integers(0, 2, (9, 9, 3)).astype(np.uint8) * 255,
        "200 bands": np.zeros((9, 9, 200), np.uint8),
        "one pixel": np.ones((1, 1), np.uint8),
        "one row": np.ones((1, 3000), np.uint8),
        "truth values": rng.integers(0, 2, (9, 9)).astype(bool),
        "complex numbers": np.ones((9, 9), np.complex64),
        "64 bits": np.full((9, 9), 2**60, np.int64),
    }
    for name, values in masks.items():
        yield Case("masks", f"label mask, {name}", partial(_read_array_mask, values))
        yield Case("masks", f"region of interest, {name}", partial(_read_roi, values))
    for name, content in TEXTS.items():
        yield Case("masks", f"label mask, {name}", partial(_read_mask_bytes, content))


def _read_array_mask(values: Any, folder: Path) -> str:
    tifffile.imwrite(folder / "mask.tif", values)
    if not 0 <= read_mask(folder / "mask.tif").defect.mean() <= 1:
        raise AssertionError("a mask is no mask")
    return READ


def _read_mask_bytes(content: bytes, folder: Path) -> str:
    (folder / "mask.png").write_bytes(content)
    read_mask(folder / "mask.png")
    return READ


def _read_roi(values: Any, folder: Path) -> str:
    (folder / "images").mkdir()
    Image.fromarray(np.full((32, 32), 9, np.uint8)).save(folder / "images" / "a.png")
    tifffile.imwrite(folder / "roi.tif", np.resize(values, (32, 32, *values.shape[2:])))
    source = ImageSource(folder / "images", Config.from_values({"image.roi": str(folder / "roi.tif")}).image)
    if not np.isfinite(source.small(0)).all() or source.inside(0, 4, 4) is None:
        raise AssertionError("the region was not used")
    return READ
