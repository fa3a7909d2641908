"""The results of all shards as one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blemish.errors import InputError, shown
from blemish.images import NothingReadableError
from blemish.model import FittedModel
from blemish.output import load_result
from blemish.results import Result
from blemish.runtime.spill import Arrays
from blemish.types import FloatArray


class _MapsOfParts:
    """Reads a map by the maps of its part and its row there."""

    def read(self, place: tuple[Sequence[FloatArray], int], /) -> FloatArray:
        maps, row = place
        return maps[row]


@dataclass(frozen=True)
class _Part:
    """One shard: where it is, which one it is, and its result."""

    folder: Path
    index: int
    result: Result


def merge_shards(folders: Sequence[Path]) -> Result:
    """The result of all shards of one folder, as one machine would have had it with the same model.

    Args:
        folders: the results folder of each shard, in any order. A shard that is given twice counts once.

    Returns:
        The result, with the images in the order of a run. Maps are read from the shards when they are used.

    Raises:
        InputError: a folder holds no complete shard, shards are missing or differ in model or number, or an image is
            in two of them. The message names the folder or the shards.
    """
    parts = _complete([_read(folder) for folder in folders])
    merged = merge_results([one.result for one in parts], FittedModel.load(parts[0].folder))
    return replace(merged, info=merged.info | {"shards": len(parts)})


def merge_results(results: Sequence[Result], model: FittedModel) -> Result:
    """The results of parts of one set as the result of the set, with the images in the order of their paths.

    Args:
        results: at least one, of disjoint sets of images.
        model: the model that made all of them.

    Raises:
        InputError: an image is in two of them.
        NothingReadableError: none of them has an image.
    """
    skipped = sorted((one for part in results for one in part.skipped), key=lambda one: one.path)
    results = [one for one in results if one.paths]
    if not results:
        raise NothingReadableError("no part has an image that can be read; give a folder with readable images", skipped)
    paths = [path for one in results for path in one.paths]
    repeated = len(paths) - len(set(paths))
    if repeated:
        raise InputError(
            f"{repeated} images are in two parts; the input folder changed between them, so run them again"
        )
    unfamiliar = {path for one in results for path in one.info.get("unfamiliar", ())}
    starts = np.cumsum([0, *(len(one.paths) for one in results)])
    arrays: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in results]) for name in _ARRAYS}
    joined = replace(
        results[0],
        paths=paths,
        maps=Arrays(_MapsOfParts(), [(one.maps, row) for one in results for row in range(len(one.paths))]),
        **arrays,
        type_probability=_optional(results, "type_probability"),
        anomaly_probability=_optional(results, "anomaly_probability"),
        regions=[
            replace(region, image=region.image + int(start))
            for start, one in zip(starts, results, strict=False)
            for region in one.regions
        ],
        skipped=skipped,
        drift_warning=model.familiarity.warning(np.array([path in unfamiliar for path in paths])),
        timings={},
        info=_info(results) | {"unfamiliar": sorted(unfamiliar)},
        model=model,
    )
    return joined.take(np.array(sorted(range(len(paths)), key=paths.__getitem__)))


_ARRAYS = ("sizes", "scores", "is_anomalous", "labels", "distances", "descriptors")


def _optional(results: Sequence[Result], name: str) -> FloatArray | None:
    parts = [getattr(one, name) for one in results]
    return None if any(part is None for part in parts) else np.concatenate(parts)


def _info(results: Sequence[Result]) -> dict[str, Any]:
    """What the shards have in common, what was passed over in any of them, and the strongest reduction."""
    common = {
        key: value
        for key, value in results[0].info.items()
        if key not in ("shard", "passed_over", "cache") and all(one.info.get(key) == value for one in results)
    }
    seen: dict[str, dict[str, str]] = {}
    for one in results:
        seen.update({item["path"]: item for item in one.info.get("passed_over", ())})
    notes = [one.info["resolution"] for one in results if isinstance(one.info.get("resolution"), dict)]
    if notes:
        common["resolution"] = max(notes, key=lambda note: note.get("hidden_pixels", 0))
        common["with_borders"] = sum(one.info.get("with_borders", 0) for one in results)
    return common | {"passed_over": [seen[path] for path in sorted(seen)], "cache": {}}


def _read(folder: Path) -> tuple[_Part, int]:
    """A shard and the number of shards."""
    result = load_result(folder)
    note = result.info.get("shard")
    try:
        index, count = int(note["index"]), int(note["count"])  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        raise InputError(
            f"{shown(folder)}: is not the result of a shard; give folders of blemish predict --shard"
        ) from None
    return _Part(folder, index, result), count


def _complete(found: Sequence[tuple[_Part, int]]) -> list[_Part]:
    """Each shard once, in order.

    Raises:
        InputError: they do not belong together, or some are missing.
    """
    if not found:
        raise InputError("no shards given; give the results folder of every shard")
    count, parts = found[0][1], dict[int, _Part]()
    first = found[0][0]
    for part, own_count in found:
        for what, one, other in (
            ("number of shards", own_count, count),
            ("model", part.result.info.get("model"), first.result.info.get("model")),
        ):
            if one != other:
                raise InputError(
                    f"{shown(part.folder)}: has another {what} than {shown(first.folder)}; merge shards of one set and model"
                )
        known = parts.setdefault(part.index, part)
        if known.result.paths != part.result.paths:
            raise InputError(
                f"{shown(part.folder)} and {shown(known.folder)}: both are shard {part.index}/{count}, of other images"
            )
    missing = [index for index in range(1, count + 1) if index not in parts]
    if missing:
        names = ", ".join(f"{index}/{count}" for index in missing[:10])
        raise InputError(f"{len(missing)} of {count} shards are missing: {names}; run them, then merge again")
    return [parts[index] for index in sorted(parts)]
