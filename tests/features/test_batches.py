from __future__ import annotations

import numpy as np

from blemish.features.batches import plan_batches


def test_batches_cover_every_image_once_in_one_size() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(a) * 16, int(b) * 16) for a, b in rng.integers(2, 4, (50, 2))]
    batches = plan_batches(sizes, range(50), 8)
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    assert all(len({sizes[index] for index in batch}) == 1 and len(batch) <= 8 for batch in batches)
    assert plan_batches(sizes, [], 8) == []
