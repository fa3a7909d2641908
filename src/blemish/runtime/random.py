"""Random samples of feature vectors, from one image or from a stream of them, by a generator of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from blemish.errors import ConfigError, InputError


def seeded_generator(seed: int) -> torch.Generator:
    """A CPU generator of its own; `ConfigError` unless the seed is an integer from 0 to 2^63 - 1."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be from 0 to 2^63 - 1, got {seed}.")
    return torch.Generator().manual_seed(seed)


def sample_vectors(features: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Feature vectors of randomly chosen pixels of one image, each pixel at most once.

    Args:
        features: C x h x w.
        n: number of vectors, at least 1; more than h * w gives all of them.
        generator: on the CPU.

    Returns:
        Tensor of shape min(n, h * w) x C, in random order, of the features' dtype and device.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(f"sample_vectors needs features of shape (C, h, w), none 0; got {tuple(features.shape)}.")
    if n < 1:
        raise ConfigError(f"The number of vectors per image must be at least 1, got {n}.")
    flat = features.flatten(1)
    picked = torch.randperm(flat.shape[1], generator=generator)[:n].to(flat.device)
    return flat[:, picked].T.contiguous()


class VectorReservoir:
    """A sample of bounded size from a stream of images: every vector offered has the same chance to be in it.

    Each image offers `per_image` of its vectors (all, if it has fewer); of all those offered, at most `capacity` are
    kept (reservoir sampling: the t-th takes the place of a random one with probability capacity / t).

    Args:
        capacity: vectors kept, at least 1.
        per_image: vectors that an image offers, at least 1.
        seed: of a generator of its own; the sample depends on it and on the order of the images.

    >>> reservoir = VectorReservoir(capacity=10, per_image=4)
    >>> for _ in range(5):
    ...     reservoir.add(torch.rand(3, 2, 8))
    >>> reservoir.offered, tuple(reservoir.vectors().shape)
    (20, (10, 3))
    """

    def __init__(self, capacity: int = 300_000, per_image: int = 1024, seed: int = 0) -> None:
        if min(capacity, per_image) < 1:
            raise ConfigError(f"capacity and per_image must be at least 1, got {capacity} and {per_image}.")
        self.capacity, self.per_image = capacity, per_image
        self.offered = 0
        self._generator = seeded_generator(seed)
        self._kept: Tensor | None = None
        self._pieces: list[Tensor] = []  # until the reservoir is full

    def add(self, features: Tensor) -> None:
        """Offer one image, C x h x w; every image must have the same C."""
        new = sample_vectors(features, self.per_image, self._generator).detach().to("cpu", torch.float32)
        known = self._kept if self._kept is not None else (self._pieces[0] if self._pieces else new)
        if new.shape[1] != known.shape[1]:
            raise InputError(f"The images differ in channels: {known.shape[1]} before, {new.shape[1]} now.")
        room = max(0, self.capacity - self.offered)
        if room:
            self._pieces.append(new[:room])
        late = new[room:]
        if len(late):
            self._replace(late, first=self.offered + room)
        self.offered += len(new)

    def _replace(self, late: Tensor, first: int) -> None:
        """Let vectors number first, first + 1, ... (from 0) compete for the places."""
        kept = self._joined()
        turns = torch.arange(first + 1, first + 1 + len(late), dtype=torch.float64)
        draws = torch.rand(len(late), generator=self._generator, dtype=torch.float64)
        places = (draws * turns).long().tolist()
        winners = {place: index for index, place in enumerate(places) if place < self.capacity}  # the last one stays
        if winners:
            kept[list(winners)] = late[list(winners.values())]

    def _joined(self) -> Tensor:
        if self._kept is None:
            self._kept = torch.cat(self._pieces)
            self._pieces = []
        return self._kept

    def vectors(self) -> Tensor:
        """The sample so far, min(offered, capacity) x C, float32 on the CPU; a copy."""
        if not self.offered:
            raise InputError("No image has been offered to the sample of vectors.")
        return torch.cat(self._pieces) if self._kept is None else self._kept.clone()
