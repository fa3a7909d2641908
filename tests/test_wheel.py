"""The wheel holds every module and data file of the package, nothing else, and stays small."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from blemish.output.report.page import SCRIPTS

ROOT = Path(__file__).parents[1]
NEEDED = ("src", "pyproject.toml", "README.md", "LICENSE")
"""What a build reads."""

DATA = {
    "blemish/py.typed",
    "blemish/backbones/MODEL_CARD.md",
    "blemish/backbones/embedded.safetensors",
    "blemish/output/report/report.css",
    "blemish/output/report/report.html",
    "blemish/output/report/texts.json",
    *(f"blemish/output/report/js/{name}" for name in SCRIPTS),
}
"""The files that are no modules."""

MOST_BYTES = 6_000_000
"""Largest wheel: most of it is the weights."""


def oldest_setuptools() -> int:
    """Major version that ``pyproject.toml`` asks for."""
    found = re.search(r'requires = \["setuptools>=(\d+)', (ROOT / "pyproject.toml").read_text())
    assert found, "pyproject.toml does not say which setuptools a build needs"
    return int(found[1])


def why_not() -> str | None:
    """Why no wheel can be built here without a download; None if one can."""
    if importlib.util.find_spec("pip") is None or importlib.util.find_spec("setuptools") is None:
        return "building a wheel without a download needs pip and setuptools in the environment"
    from importlib.metadata import version

    if int(version("setuptools").split(".")[0]) < oldest_setuptools():
        return f"building the wheel needs setuptools {oldest_setuptools()} in the environment"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    for name in NEEDED:  # a copy, so that no build folder is left in the repository
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, place / name)
    command = ("pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", "dist", ".")
    done = subprocess.run([sys.executable, "-m", *command], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (place / "dist").glob("*.whl")
    return found


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_modules_and_the_data_files_and_nothing_else(wheel: Path) -> None:
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "blemish").rglob("*.py")}
    inside = {name for name in names(wheel) if ".dist-info/" not in name}
    assert inside == modules | DATA


def test_the_wheel_holds_the_license_and_the_command(wheel: Path) -> None:
    texts = {name.partition(".dist-info/")[2] for name in names(wheel) if ".dist-info/" in name}
    assert {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"} <= texts
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "blemish = blemish.__main__:main" in archive.read(points).decode()


def test_the_wheel_is_for_every_platform_and_small(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < MOST_BYTES


def test_files_in_the_wheel_equal_the_source(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in DATA:
            assert archive.read(name) == (ROOT / "src" / name).read_bytes(), name
