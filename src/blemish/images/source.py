"""Where a run's images come from: a folder, a list of paths, or arrays, behind one interface."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Generator, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.config.schema import Image as ImageConfig
from blemish.errors import InputError
from blemish.images import loading as im
from blemish.runtime.digests import array_digest, digest
from blemish.types import FloatArray, Skipped

Images = str | Path | Sequence[str | Path] | Sequence[npt.NDArray[np.generic]] | npt.NDArray[np.generic]
_log = logging.getLogger(__name__)

DECODERS = 2
"""Threads that decode while the network computes."""


class ImageSource:
    """Readable images of one set with the size each is brought to.

    Files whose header cannot be read are left out and listed in ``skipped``. Pixels are decoded when they are needed:
    :meth:`stream` tells of those that cannot be, and :meth:`keep` leaves them out afterwards.
    """

    def __init__(self, images: Images, config: ImageConfig, *, exclude: Sequence[Path] = ()) -> None:
        self.root: Path | None = None
        self.skipped: list[Skipped] = []
        self._arrays: list[FloatArray] | None = None
        self._files: list[Path] = []
        self.white: float | None = None
        self._contents: list[str] | None = None
        if isinstance(images, (str, Path)):
            self.root = Path(images)
            self._open_files(im.find_images(self.root, exclude=exclude))
        elif len(images) and not isinstance(images[0], (str, Path)):
            self._open_arrays(images)  # type: ignore[arg-type]
        else:
            self._open_files([Path(str(one)) for one in images])
        if not self.names:
            raise InputError(self.nothing())
        self.planned = im.plan_sizes(self.infos, config.size, config.resize, 16, config.max_side, config.upscale)

    def _open_files(self, paths: list[Path]) -> None:
        good: list[Path] = []
        self.infos: list[im.ImageInfo] = []
        with ThreadPoolExecutor(DECODERS) as pool:
            for path, outcome in zip(paths, pool.map(_header, paths), strict=True):
                if isinstance(outcome, str):
                    self.skipped.append(Skipped(self._name(path), outcome))
                    _log.warning("skipped %s", outcome)
                else:
                    good.append(path)
                    self.infos.append(outcome)
        self._files, self.names = good, [self._name(path) for path in good]
        self.white = im.white_level(good, infos=self.infos) if good else None

    def _open_arrays(self, arrays: Sequence[npt.NDArray[np.generic]]) -> None:
        values = [np.asarray(one) for one in arrays]
        peaks = [float(one.max()) for one in values if one.size and one.dtype.kind in "ui" and one.dtype.itemsize > 1]
        white = im.common_white(max(peaks)) if peaks else None
        self._arrays = [_as_rgb(one, index, white) for index, one in enumerate(values)]
        self.infos = [im.ImageInfo(one.shape[0], one.shape[1], 8, 3) for one in self._arrays]
        self.names = [f"array-{index:05d}" for index in range(1, len(self._arrays) + 1)]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if self.root else path.as_posix()

    def nothing(self) -> str:
        """What to say if no image can be read."""
        where = f" in {im.shown(self.root)}" if self.root else ""
        first = f"; the first: {self.skipped[0].reason}" if self.skipped else ""
        count = len(self.skipped)
        return f"no readable image{where} ({count} could not be read{first}): give a folder with readable images"

    def __len__(self) -> int:
        return len(self.names)

    def full(self, index: int) -> FloatArray:
        """Image ``index`` as stored: H x W x 3 float32 in [0, 1]."""
        return self._arrays[index] if self._arrays is not None else im.decode(self._files[index], white=self.white)

    def small(self, index: int) -> FloatArray:
        """Image ``index`` at its planned size: 3 x h x w float32, contiguous."""
        return np.ascontiguousarray(im.resize(self.full(index), *self.planned[index]).transpose(2, 0, 1))

    def stream(self, indices: Sequence[int], ahead: int = 8) -> Generator[tuple[int, FloatArray | InputError]]:
        """Yield (index, small image), or (index, why it cannot be read), in order.

        ``DECODERS`` threads decode up to ``ahead`` images before the caller asks for them.
        """
        with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
            waiting: deque[tuple[int, Future[FloatArray | InputError]]] = deque()
            try:
                for index in indices:
                    waiting.append((index, pool.submit(self._small_or_error, index)))
                    if len(waiting) > ahead:
                        done, future = waiting.popleft()
                        yield done, future.result()
                while waiting:
                    done, future = waiting.popleft()
                    yield done, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _small_or_error(self, index: int) -> FloatArray | InputError:
        try:
            return self.small(index)
        except InputError as error:
            return error

    def fingerprint(self, index: int) -> str:
        """Digest of what image ``index`` looks like at its planned size: its content, that size and the white level.

        The first call reads every file of the set. One that cannot be read gets a digest that nothing else ever has.
        """
        if self._contents is None:
            with ThreadPoolExecutor(DECODERS) as pool:
                self._contents = list(pool.map(_content_digest, self._arrays or self._files))
        return digest(self._contents[index], self.planned[index], self.white)

    def originals(self) -> list[int]:
        """For each image the first one of the same content: itself, but for copies.

        Reads only files that have another's size.
        """
        alike: dict[Hashable, list[int]] = {}
        first = list(range(len(self.planned)))
        for index in first:
            alike.setdefault(_extent(self._image(index)), []).append(index)
        for indices in alike.values():
            seen: dict[str, int] = {}
            for index in indices if len(indices) > 1 else ():
                content = self._contents[index] if self._contents else _content_digest(self._image(index))
                first[index] = seen.setdefault(content, index)
        return first

    def _image(self, index: int) -> Path | FloatArray:
        return self._files[index] if self._arrays is None else self._arrays[index]

    def keep(self, indices: Sequence[int]) -> None:
        """Forget every image but these; they are numbered anew."""
        self.infos = [self.infos[index] for index in indices]
        self.names = [self.names[index] for index in indices]
        self.planned = [self.planned[index] for index in indices]
        if self._arrays is not None:
            self._arrays = [self._arrays[index] for index in indices]
        else:
            self._files = [self._files[index] for index in indices]
        if self._contents is not None:
            self._contents = [self._contents[index] for index in indices]


def _extent(image: Path | FloatArray) -> Hashable:
    """What copies have in common at the least, without reading the file."""
    if not isinstance(image, Path):
        return image.shape
    try:
        return image.stat().st_size
    except OSError:
        return image


def _content_digest(image: Path | FloatArray) -> str:
    if not isinstance(image, Path):
        return array_digest(image)
    try:
        with image.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return uuid.uuid4().hex


def _header(path: Path) -> im.ImageInfo | str:
    try:
        return im.probe(path)
    except InputError as error:
        return str(error)


def _as_rgb(values: npt.NDArray[np.generic], index: int, white: float | None) -> FloatArray:
    """H x W x 3 in [0, 1]; ``white`` is that of integers deeper than 8 bits, shared by the set as for files."""
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or min(values.shape[:2]) < 1:
        raise InputError(f"array {index} has shape {values.shape}: give H x W, or H x W x 1, 3 or 4")
    values = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[:, :, :3]
    if values.dtype.kind in "ui":
        top = 255.0 if values.dtype.itemsize == 1 or white is None else white
        scaled = (values.astype(np.float64) / top).astype(np.float32)
    else:
        scaled = values.astype(np.float32)
    if not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1:
        raise InputError(f"array {index} has values outside 0 to 1: scale floats to [0, 1] or give unsigned integers")
    return scaled
