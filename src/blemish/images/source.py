"""The images of one run, from a folder, a manifest, a list of paths, or arrays, behind one interface."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.config.sections import Image as ImageConfig
from blemish.errors import InputError, shown
from blemish.images._ahead import run_ahead
from blemish.images._two_valued import TwoValued
from blemish.images.arrays import arrays_to_rgb, to_list
from blemish.images.contents import Contents
from blemish.images.decoding import loading
from blemish.images.decoding.files import ImageFile, open_files
from blemish.images.decoding.raw import ImageInfo
from blemish.images.decoding.stored import Photo, StoredImage
from blemish.images.decoding.white_level import WhiteLevel, estimate_white_level
from blemish.images.finding.listing import Listing, NothingReadableError, describe_passed_over, list_images
from blemish.images.finding.places import Url, as_place, is_remote
from blemish.images.finding.remote import forget_fetched
from blemish.images.finding.sets import list_named, list_set
from blemish.images.inside.area import PictureArea
from blemish.images.inside.roi import RegionOfInterest
from blemish.images.scaling.calibration import Calibration
from blemish.images.scaling.resolution import Resolution
from blemish.images.scaling.sizes import common_scale, resize
from blemish.images.scaling.tiling import TilePixels
from blemish.runtime.digests import digest
from blemish.types import BoolArray, FloatArray, Skipped

Images = str | Path | Sequence[str | Path] | Sequence[npt.NDArray[np.generic]] | npt.NDArray[np.generic]

DECODERS = 2
"""Threads that decode while the network computes."""

FETCHERS = 8
"""Threads in place of them where images are fetched from an address, which is waiting for the most part."""

ALSO = "known normal: "
"""What the names of further images begin with."""

HUGE_MEGABYTES = 500
"""Images that take more than this once decoded are decoded one at a time, and stay as they are stored."""

_OTHER_DEPTH = (
    "has more than 8 bits per channel, and the images that the model was fitted to had not; convert the images as those "
    "were, or fit a model to images like these"
)

_log = logging.getLogger(__name__)


class ImageSource:
    """Images of one set, each with the size it is brought to, and the registry of those that cannot be read.

    A file whose header cannot be read gets no index and is listed in :attr:`skipped`. Pixels are decoded when they are
    needed. An image that turns out to be undecodable then is entered with :meth:`mark_unreadable` and keeps its index
    until :meth:`keep` drops it. So is an image whose file has changed since its header was read.

    Args:
        images: a folder, a manifest, a tar file, an address such as ``s3://bucket/folder``, or a part of one (each page of a
            file is an image); a list of paths or addresses (one image each); or arrays: a list of H x W or H x W x C, or one
            array N x H x W or N x H x W x C; one H x W or H x W x C array is one image.
        config: the section ``image`` of the settings.
        exclude: folders inside the input folder that are not read.
        calibration: that of an earlier set; None: decided by this set.
        also: a folder with further images of the set; their names begin with :data:`ALSO`.
        shard: (i, n): of such a set, every n-th file, beginning with file i, from 1; None: all files.

    Attributes:
        root: what was given; None for paths and arrays.
        names: name of each image: its path relative to the folder, the path as given, or ``array-00001``; with ``#2`` and
            so on for further pages of a file.
        infos: header of each image.
        resolution: the size that each image is brought to, and whether it is worked on in tiles.
        area: what of each image counts.
        calibration: how the images are read.
        white_level: stored values that count as white.
        unreadable: index -> reason, of the images that could not be decoded so far.
        changed: whether a file has changed or vanished since its digest was taken; the cache must not be written then.
        passed_over: files and folders that are not images to inspect, and why.

    Raises:
        InputError: ``images`` is of another type, or no image can be read.
    """

    def __init__(
        self,
        images: Images | Url | Listing,
        config: ImageConfig,
        *,
        exclude: Sequence[Path] = (),
        calibration: Calibration | None = None,
        also: Path | None = None,
        shard: tuple[int, int] | None = None,
    ) -> None:
        self.root: Path | Url | None = None
        self.names: list[str] = []
        self.infos: list[ImageInfo] = []
        self.white_level = calibration.white_level if calibration else WhiteLevel()
        self.unreadable: dict[int, str] = {}
        self.changed = False
        self.passed_over: list[Skipped] = []
        self._config, self._given = config, calibration
        self._dropped: list[Skipped] = []
        self._arrays: list[FloatArray] | None = None
        self._files: list[ImageFile] = []
        self._readers = DECODERS
        self._huge = threading.RLock()
        self._two_valued = TwoValued()
        if isinstance(images, (str, Path, Url)):
            self.root = images if isinstance(images, Url) else as_place(images)
            found = list_set(self.root, exclude=exclude)
            self.passed_over = found.passed_over
            if shard is not None:
                found = found.part(*shard)
            self._open_files(found, found.names, list_images(also) if also else None)
        elif isinstance(images, Listing):
            self._open_files(images, images.names)
        else:
            items = to_list(images)
            if items and all(isinstance(one, (str, os.PathLike)) for one in items):
                self._open_files(list_named((os.fspath(one) for one in items), Path()), None)
            else:
                self._open_arrays(items)
        if self.passed_over:
            _log.warning("%s", describe_passed_over(self.passed_over))
        if not self.names:
            raise NothingReadableError(self._nothing_readable(), self.skipped)
        scale = calibration.scale if calibration else common_scale(self.infos, config.size)
        self.calibration = Calibration(scale, self.white_level)
        self.resolution = Resolution(self.infos, config, self.calibration)
        roi = RegionOfInterest(Path(config.roi).expanduser(), self.names, self.infos) if config.roi else None
        self.area = PictureArea(self.infos, roi, config.borders == "auto", self.full)

    def _open_files(self, listing: Listing, names: list[str] | None, also: Listing | None = None) -> None:
        forget_fetched()
        if any(is_remote(place) for place in listing.images):
            self._readers = FETCHERS
        opened = open_files(listing.images, names, self._config.max_megabytes, self._readers)
        opened.unreadable += listing.skipped
        if also is not None:
            opened.add(open_files(also.images, also.names, self._config.max_megabytes, DECODERS), ALSO)
        for one in opened.unreadable:
            _log.warning("skipped %s", one.reason)
        self._dropped, self._files, self.names = opened.unreadable, opened.files, opened.names
        self.passed_over += opened.passed_over
        self.infos = [one.info for one in self._files]
        self._contents = Contents(self._files, self._readers)
        if self._given is not None:
            without = next(
                (one for one in self._files if one.info.deep and self.white_level.of(one.info) is None), None
            )
            if without is not None:
                raise InputError(f"{shown(without.path)}: {_OTHER_DEPTH}")
            return
        if self._config.white_level == "auto":
            deep = any(info.deep for info in self.infos)  # otherwise there is nothing to draw, and no need for an order
            files = [self._files[index] for index in (self.content_order(0) if deep else range(len(self)))]
            self.white_level = estimate_white_level(
                [(one.path, one.page) for one in files],
                infos=[one.info for one in files],
                max_megabytes=self._config.max_megabytes,
            )
        elif any(info.deep for info in self.infos):
            self.white_level = WhiteLevel(self._config.white_level)

    def _open_arrays(self, arrays: Sequence[object]) -> None:
        given = None if self._config.white_level == "auto" else self._config.white_level
        self._arrays, level = arrays_to_rgb(arrays, self._given.white_level.level if self._given else given)
        self._contents = Contents(self._arrays)
        if self._given and level is not None and self._given.white_level.level is None:
            raise InputError(f"an array {_OTHER_DEPTH}")
        self.white_level = self._given.white_level if self._given else WhiteLevel(level)
        self.infos = [ImageInfo(one.shape[0], one.shape[1], 8, 3) for one in self._arrays]
        self.names = [f"array-{index:05d}" for index in range(1, len(self._arrays) + 1)]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def target_sizes(self) -> list[tuple[int, int]]:
        """Height and width that each image is brought to."""
        return self.resolution.sizes

    def report(self) -> dict[str, Any]:
        """What ``run.json`` says about the input: the white level, the resolution, and what was passed over."""
        level = self.white_level
        return {
            "white_level": level.level if level.wide is None else {"16 bits": level.level, "32 bits": level.wide},
            "resolution": self.resolution.report(),
            "with_borders": self.area.bordered,
            "passed_over": [{"path": one.path, "reason": one.reason} for one in self.passed_over],
        }

    # ---- pixels

    def full(self, index: int) -> Photo:
        """Image ``index`` at its stored size: H x W x 3 float32 in [0, 1], or its stored values if it is huge."""
        if self._arrays is not None:
            self.area.look(index, StoredImage(self._arrays[index], 1.0))
            return self._arrays[index]
        file = self._files[index]
        with self._turn(file.info):
            image = loading.decode_stored(
                file.path,
                white=self.white_level.of(file.info),
                page=file.page,
                max_megabytes=self._config.max_megabytes,
                check=lambda handle: self._check_unchanged(index, handle),
                repair_hot=self._config.white_level == "auto",
            )
        if image.shape[:2] != (file.info.height, file.info.width):
            raise InputError(f"{shown(file.path)}: was changed while the run was reading it; run again")
        self._two_valued.look(index, image)
        self.area.look(index, image)
        return image if self._is_huge(file.info) else image[:, :]

    def small(self, index: int) -> FloatArray:
        """Image ``index`` at its target size, with nothing of what does not count.

        Returns:
            3 x h x w float32, contiguous.
        """
        size = self.target_sizes[index]
        with self._turn(self.infos[index]):
            image = np.ascontiguousarray(resize(self.full(index), *size).transpose(2, 0, 1))
        return self.area.filled(index, image, size)

    def tiles(self, index: int) -> TilePixels:
        """The pixels that :meth:`small` would give, of which a window is in memory at a time."""
        image, size, area = self.full(index), self.target_sizes[index], self.area
        stored = image if isinstance(image, StoredImage) else StoredImage(image, 1.0)
        if not area.restricted(index):
            return TilePixels(stored, size)
        return TilePixels(stored, size, lambda pixels, window: area.filled(index, pixels, size, window))

    def inside(self, index: int, height: int, width: int) -> BoolArray | None:
        """The cells of a grid over image ``index`` that count; None if all do."""
        return self.area.inside(index, height, width)

    def _turn(self, info: ImageInfo) -> AbstractContextManager[object]:
        """Wait until no other thread decodes a huge image, if this one is huge."""
        return self._huge if self._is_huge(info) else nullcontext()

    @staticmethod
    def _is_huge(info: ImageInfo) -> bool:
        return info.megabytes > HUGE_MEGABYTES

    def _check_unchanged(self, index: int, handle: IO[bytes]) -> None:
        error = self._files[index].changed(handle, self._contents.known(index))
        if error is not None:
            raise error

    def stream(self, indices: Sequence[int], ahead: int = 8) -> Generator[tuple[int, FloatArray | InputError]]:
        """Yield (index, image at its target size), or (index, why it cannot be read), in order.

        ``DECODERS`` threads, or ``FETCHERS``, decode up to ``ahead`` images before the caller asks for them.
        """
        return run_ahead(self._small_or_error, indices, self._readers, ahead)

    def _small_or_error(self, index: int) -> FloatArray | InputError:
        try:
            return self.small(index)
        except InputError as error:
            return error

    def decoding_error(self, index: int) -> InputError | None:
        """Why image ``index`` cannot be decoded; None if it can be."""
        try:
            self.full(index)
        except InputError as error:
            return error
        return None

    # ---- images that cannot be read

    @property
    def skipped(self) -> list[Skipped]:
        """Every image that could not be read so far, sorted by name."""
        undecodable = [Skipped(self.names[index], reason) for index, reason in self.unreadable.items()]
        return sorted([*self._dropped, *undecodable], key=lambda one: one.path)

    def mark_unreadable(self, index: int, reason: str) -> None:
        """Enter image ``index`` as one that cannot be decoded.

        Results of this run must not be stored any more if its file is not the one whose digest is known: they would be
        found under the digest of a file that can be read. :attr:`changed` says so.
        """
        self.unreadable[index] = reason
        known = self._contents.known(index)
        if known is not None and self._arrays is None:
            self.changed |= self._files[index].content_digest() != known

    def confirm_unreadable(self, indices: Iterable[int]) -> bool:
        """Whether none of these images, which an earlier run could not decode, can be decoded now.

        Images that are not in the registry yet are decoded once more, which gives the message.
        """
        for index in indices:
            if index not in self.unreadable:
                error = self.decoding_error(index)
                if error is None:
                    return False
                self.mark_unreadable(index, str(error))
        return True

    def readable(self, indices: Iterable[int]) -> list[int]:
        """These images without the unreadable ones."""
        return [index for index in indices if index not in self.unreadable]

    def finish(self) -> None:
        """Log the images that could not be decoded, and whether the images look like masks, once all have been tried.

        Raises:
            InputError: none could be decoded.
        """
        for _, reason in sorted(self.unreadable.items()):
            _log.warning("skipped %s", reason)
        if len(self.unreadable) == len(self):
            raise NothingReadableError(self._nothing_readable(), self.skipped)
        guess = None
        if self._arrays is None:
            guess = self._two_valued.warning(self.readable(self.content_order(0)), self.decoding_error)
        if guess is not None:
            where = shown(self.root) if self.root else "the list"
            _log.warning("%s; check that %s holds the images to inspect", guess, where)

    def _nothing_readable(self) -> str:
        if not self.skipped:
            return "no images given: give a folder, a list of paths, or arrays"
        where = f" in {shown(self.root)}" if self.root else ""
        skipped = self.skipped
        first = f"; the first: {skipped[0].reason}" if skipped else ""
        return f"no readable image{where} ({len(skipped)} could not be read{first}): give a folder with readable images"

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every other image; those that are kept get new indices, from 0 in this order."""
        self._dropped, self.unreadable = self.skipped, {}
        self.infos = [self.infos[index] for index in indices]
        self.names = [self.names[index] for index in indices]
        self.resolution.keep(indices)
        if self._arrays is not None:
            self._arrays = [self._arrays[index] for index in indices]
        else:
            self._files = [self._files[index] for index in indices]
        self.area.keep(indices)
        self._contents.keep(indices)

    # ---- content

    def fingerprint(self, index: int) -> str:
        """Digest of everything that image ``index`` depends on at its target size: content, size, white level, mask.

        The first call reads every file of the set. A file that cannot be read gets a digest that no other file has.
        """
        return digest(self.content(index), self.target_sizes[index], self._white_of(index), *self.area.digest(index))

    def content_order(self, seed: int) -> list[int]:
        """The indices of all images in a random order that content alone decides, with copies by index.

        The first k of them are a random sample that depends neither on names nor on the order of the files, and that one
        more image rarely changes. The first call reads every file of the set.
        """
        ranks = [digest(seed, content) for content in self._contents.digests()]
        return sorted(range(len(self)), key=lambda index: (ranks[index], index))

    def content(self, index: int) -> str:
        """Digest of the content of image ``index``. The first call reads every file of the set."""
        return self._contents.digests()[index]

    def content_seed(self, index: int) -> int:
        """A seed, 0 to 2^48 - 1, that the content of image ``index`` alone decides."""
        return int(self.content(index)[:12], 16)

    def _white_of(self, index: int) -> float | None:
        return None if self._arrays is not None else self.white_level.of(self._files[index].info)

    def originals(self) -> list[int]:
        """For each image the index of the first image with the same content; its own index unless it is a copy.

        Reads only files whose size another file has too.
        """
        return self._contents.originals()
