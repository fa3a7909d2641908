r"""The table of images as CSV and Parquet, and the names of the files that belong to an image.

Neither holds anything that differs between equal runs. Paths in the CSV are exact, byte for byte, with one exception:
a path that a spreadsheet would take for a formula (it starts with ``=``, ``+``, ``-``, ``@`` or white space) gets
``./`` in front, which names the same file and is plain text. Parquet has every path as it is; where one is not valid
Unicode, that table shows the odd bytes as ``\udcNN`` and a further column ``path_bytes`` holds the exact names.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from blemish.images import IMAGE_SUFFIXES
from blemish.results import Result

COLUMNS = ("path", "score", "is_anomalous", "cluster", "cluster_name", "distance", "height", "width")
MAX_NAME_BYTES = 200
"""File systems allow 255 bytes per name; ours leaves room for ``.tiff`` and ``.partial``."""


def write_csv(result: Result, target: Path) -> None:
    """Write ``images.csv``: UTF-8, text quoted, line feeds, shortest digits that give back each float32."""
    with open(target, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(",".join(COLUMNS) + "\n")
        for row in _csv_rows(result):
            stream.write(",".join(row) + "\n")


def _csv_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for i, path in enumerate(result.paths):
        label = int(result.labels[i])
        yield (
            _quoted(_no_formula(path)),
            str(result.scores[i]),
            "true" if result.is_anomalous[i] else "false",
            str(label),
            _quoted(result.cluster_name(label)),
            str(result.distances[i]),
            str(int(result.sizes[i][0])),
            str(int(result.sizes[i][1])),
        )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _no_formula(path: str) -> str:
    """The same file under a name that no spreadsheet runs.

    >>> _no_formula("=cmd.png"), _no_formula("a=b.png")
    ('./=cmd.png', 'a=b.png')
    """
    return f"./{path}" if path[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", " ") else path


def write_parquet(result: Result, target: Path) -> None:
    """Write ``images.parquet``: the columns of the CSV with their types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = [int(label) for label in result.labels]
    columns = {
        "path": pa.array([p.encode("utf-8", "backslashreplace").decode("utf-8") for p in result.paths], pa.string()),
        "score": pa.array(result.scores, pa.float32()),
        "is_anomalous": pa.array(result.is_anomalous, pa.bool_()),
        "cluster": pa.array(labels, pa.int64()),
        "cluster_name": pa.array([result.cluster_name(label) for label in labels], pa.string()),
        "distance": pa.array(result.distances, pa.float32()),
        "height": pa.array(result.sizes[:, 0], pa.int64()),
        "width": pa.array(result.sizes[:, 1], pa.int64()),
    }
    if not all(_is_unicode(path) for path in result.paths):
        columns["path_bytes"] = pa.array([os.fsencode(path) for path in result.paths], pa.binary())
    pq.write_table(pa.table(columns), target, compression="zstd")


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def file_stems(paths: Sequence[str]) -> list[str]:
    """One distinct path without suffix per image, for its map, mask and overlay.

    An image's own suffix is dropped; where two images would then share a name (``a.png`` and ``a.jpg``, or ``A.png``
    on a disk that ignores case), all of them keep it: ``a.png``, ``a.jpg``. What still collides gets ``~2``, ``~3`` in
    the order of the images. The same goes for names that a folder of images has. Absolute paths and ``..`` are made to
    stay inside the folder; names too long for a file system are cut and end in a hash of the whole path. The rule sees
    names only, never content.

    >>> file_stems(["cut/000.png", "hole/1.jpg", "hole/1.png"])
    ['cut/000', 'hole/1.jpg', 'hole/1.png']
    """
    whole = [_inside(path) for path in paths]
    stems = [_without_suffix(path) for path in whole]
    folders = {str(parent).casefold() for path in whole for parent in PurePosixPath(path).parents}
    while True:
        counts = Counter(stem.casefold() for stem in stems)
        bad = {i for i, s in enumerate(stems) if counts[s.casefold()] > 1 or _is_folder(s, folders)}
        if not any(stems[i] != whole[i] for i in bad):
            break
        for i in bad:
            stems[i] = whole[i]
    taken = {s.casefold() for i, s in enumerate(stems) if i not in bad}
    for i in sorted(bad):
        stems[i] = _free_name(stems[i], taken, folders)
    return stems


def _is_folder(stem: str, folders: set[str]) -> bool:
    return any(f"{stem}{suffix}".casefold() in folders for suffix in (".tiff", ".png", ".jpg"))


def _free_name(stem: str, taken: set[str], folders: set[str]) -> str:
    name, number = stem, 1
    while name.casefold() in taken or _is_folder(name, folders):
        number += 1
        name = f"{stem}~{number}"
    taken.add(name.casefold())
    return name


def _inside(path: str) -> str:
    parts = [p for p in PurePosixPath(path).parts if p != "/"]
    return "/".join("__" if p == ".." else _short(p, path) for p in parts) or "image"


def _short(part: str, path: str) -> str:
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    suffix = PurePosixPath(part).suffix
    suffix = suffix if suffix.lower() in IMAGE_SUFFIXES else ""
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    kept = os.fsencode(part)[: MAX_NAME_BYTES - 32].decode("utf-8", "ignore")
    return f"{kept}-{digest}{suffix}"


def _without_suffix(path: str) -> str:
    pure = PurePosixPath(path)
    return str(pure.with_suffix("")) if pure.suffix.lower() in IMAGE_SUFFIXES else path


def evaluation_prefix(source: str | None, paths: Sequence[str]) -> str:
    """What to put before relative paths so that they read ``<category>/test/<type>/<name>`` as MVTec's scripts want.

    The folder given may be the data set (nothing is missing), one category, or its ``test`` folder; any other layout
    is mirrored as it is.

    >>> evaluation_prefix("data/leather", ["test/cut/000.png"])
    'leather/'
    >>> evaluation_prefix("data/leather/test", ["cut/000.png", "good/000.png"])
    'leather/test/'
    >>> evaluation_prefix("photos", ["a.png"])
    ''
    """
    if source is None:
        return ""
    folder = Path(os.path.abspath(source))
    tops = {path.split("/")[0] if "/" in path else "" for path in paths}
    if tops <= {"train", "test"} and "test" in tops:
        return f"{folder.name}/"
    if folder.name == "test" and "" not in tops:
        return f"{folder.parent.name}/test/"
    return ""
