"""The images of one run, from a folder, a list of paths, or arrays, behind one interface."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.config.schema import Image as ImageConfig
from blemish.errors import InputError, shown
from blemish.images import loading
from blemish.images.arrays import arrays_to_rgb
from blemish.images.decoders import probe
from blemish.images.finding import find_images
from blemish.images.raw import ImageInfo
from blemish.images.sizes import plan_sizes, resize
from blemish.images.white_level import estimate_white_level
from blemish.runtime.digests import array_digest, digest
from blemish.types import FloatArray, Skipped

Images = str | Path | Sequence[str | Path] | Sequence[npt.NDArray[np.generic]] | npt.NDArray[np.generic]

DECODERS = 2
"""Threads that decode while the network computes."""

_log = logging.getLogger(__name__)


class ImageSource:
    """Images of one set, each with the size it is brought to, and the registry of those that cannot be read.

    A file whose header cannot be read gets no index and is listed in :attr:`skipped`. Pixels are decoded when they are
    needed. An image that turns out to be undecodable then is entered with :meth:`mark_unreadable` and keeps its index
    until :meth:`keep` drops it.

    Args:
        images: a folder, paths, or arrays.
        config: the section ``image`` of the settings.
        exclude: folders inside the input folder that are not read.

    Attributes:
        root: the folder given; None for paths and arrays.
        names: name of each image: its path relative to ``root``, the path as given, or ``array-00001``.
        infos: header of each image.
        target_sizes: height and width that each image is brought to.
        white: white level of the set, None if it needs none.
        unreadable: index -> reason, of the images that could not be decoded so far.

    Raises:
        InputError: no image can be read.
    """

    def __init__(self, images: Images, config: ImageConfig, *, exclude: Sequence[Path] = ()) -> None:
        self.root: Path | None = None
        self.names: list[str] = []
        self.infos: list[ImageInfo] = []
        self.white: float | None = None
        self.unreadable: dict[int, str] = {}
        self._dropped: list[Skipped] = []
        self._arrays: list[FloatArray] | None = None
        self._files: list[Path] = []
        self._contents: list[str] | None = None
        if isinstance(images, (str, Path)):
            self.root = Path(images)
            self._open_files(find_images(self.root, exclude=exclude))
        elif len(images) and not isinstance(images[0], (str, Path)):
            self._open_arrays(images)  # type: ignore[arg-type]
        else:
            self._open_files([Path(str(one)) for one in images])
        if not self.names:
            raise InputError(self._nothing_readable())
        self.target_sizes = plan_sizes(self.infos, config.size, config.resize, 16, config.max_side, config.upscale)

    def _open_files(self, paths: list[Path]) -> None:
        with ThreadPoolExecutor(DECODERS) as pool:
            for path, outcome in zip(paths, pool.map(_header, paths), strict=True):
                if isinstance(outcome, str):
                    self._dropped.append(Skipped(self._name(path), outcome))
                    _log.warning("skipped %s", outcome)
                else:
                    self._files.append(path)
                    self.infos.append(outcome)
        self.names = [self._name(path) for path in self._files]
        self.white = estimate_white_level(self._files, infos=self.infos)

    def _open_arrays(self, arrays: Sequence[npt.NDArray[np.generic]]) -> None:
        self._arrays = arrays_to_rgb(arrays)
        self.infos = [ImageInfo(one.shape[0], one.shape[1], 8, 3) for one in self._arrays]
        self.names = [f"array-{index:05d}" for index in range(1, len(self._arrays) + 1)]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if self.root else path.as_posix()

    def __len__(self) -> int:
        return len(self.names)

    # ---- pixels

    def full(self, index: int) -> FloatArray:
        """Image ``index`` as stored: H x W x 3 float32 in [0, 1]."""
        if self._arrays is not None:
            return self._arrays[index]
        return loading.decode(self._files[index], white=self.white)

    def small(self, index: int) -> FloatArray:
        """Image ``index`` at its target size: 3 x h x w float32, contiguous."""
        return np.ascontiguousarray(resize(self.full(index), *self.target_sizes[index]).transpose(2, 0, 1))

    def stream(self, indices: Sequence[int], ahead: int = 8) -> Generator[tuple[int, FloatArray | InputError]]:
        """Yield (index, image at its target size), or (index, why it cannot be read), in order.

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

    # ---- images that cannot be read

    @property
    def skipped(self) -> list[Skipped]:
        """Every image that could not be read so far, sorted by name."""
        undecodable = [Skipped(self.names[index], reason) for index, reason in self.unreadable.items()]
        return sorted([*self._dropped, *undecodable], key=lambda one: one.path)

    def mark_unreadable(self, index: int, reason: str) -> None:
        """Enter image ``index`` as one that cannot be decoded."""
        self.unreadable[index] = reason

    def confirm_unreadable(self, indices: Iterable[int]) -> bool:
        """Whether none of these images, which an earlier run could not decode, can be decoded now.

        Images that are not in the registry yet are decoded once more, which gives the message.
        """
        for index in indices:
            if index not in self.unreadable:
                try:
                    self.small(index)
                except InputError as error:
                    self.mark_unreadable(index, str(error))
                else:
                    return False
        return True

    def readable(self, indices: Iterable[int]) -> list[int]:
        """These images without the unreadable ones."""
        return [index for index in indices if index not in self.unreadable]

    def finish(self) -> None:
        """Log the images that could not be decoded, once every image has been tried.

        Raises:
            InputError: none could be decoded.
        """
        for _, reason in sorted(self.unreadable.items()):
            _log.warning("skipped %s", reason)
        if len(self.unreadable) == len(self):
            raise InputError(self._nothing_readable())

    def _nothing_readable(self) -> str:
        where = f" in {shown(self.root)}" if self.root else ""
        skipped = self.skipped
        first = f"; the first: {skipped[0].reason}" if skipped else ""
        return f"no readable image{where} ({len(skipped)} could not be read{first}): give a folder with readable images"

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every other image; those that are kept get new indices, from 0 in this order."""
        self._dropped, self.unreadable = self.skipped, {}
        self.infos = [self.infos[index] for index in indices]
        self.names = [self.names[index] for index in indices]
        self.target_sizes = [self.target_sizes[index] for index in indices]
        if self._arrays is not None:
            self._arrays = [self._arrays[index] for index in indices]
        else:
            self._files = [self._files[index] for index in indices]
        if self._contents is not None:
            self._contents = [self._contents[index] for index in indices]

    # ---- content

    def fingerprint(self, index: int) -> str:
        """Digest of everything that image ``index`` depends on at its target size: content, size and white level.

        The first call reads every file of the set. A file that cannot be read gets a digest that no other file has.
        """
        if self._contents is None:
            with ThreadPoolExecutor(DECODERS) as pool:
                self._contents = list(pool.map(_content_digest, self._arrays or self._files))
        return digest(self._contents[index], self.target_sizes[index], self.white)

    def originals(self) -> list[int]:
        """For each image the index of the first image with the same content; its own index unless it is a copy.

        Reads only files whose size another file has too.
        """
        alike: dict[Hashable, list[int]] = {}
        first = list(range(len(self)))
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


def _extent(image: Path | FloatArray) -> Hashable:
    """What copies have in common, known without reading the file: shape of an array, bytes of a file."""
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


def _header(path: Path) -> ImageInfo | str:
    try:
        return probe(path)
    except InputError as error:
        return str(error)
