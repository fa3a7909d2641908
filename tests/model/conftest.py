from __future__ import annotations

from pathlib import Path

import pytest

from blemish import Config, FittedModel, Result, run
from blemish.synthetic.demo import make_demo
from helpers.fitted import FAST


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images: most are fitted, and the last six come later."""
    root = tmp_path_factory.mktemp("fitted")
    make_demo(root, n_images=24, size=128, seed=1)
    later = root / "later"
    later.mkdir()
    for path in sorted((root / "images").iterdir())[-6:]:
        path.rename(later / path.name)
    return root


@pytest.fixture(scope="session")
def fitted(folder: Path) -> Result:
    return run(folder / "images", Config.from_values(FAST))


@pytest.fixture(scope="session")
def model(fitted: Result) -> FittedModel:
    assert isinstance(fitted.model, FittedModel)
    return fitted.model
