"""Checks of the machine and the installation, each with what to do if it fails."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blemish.errors import BlemishError, shown
from blemish.runtime.processors import affine_processors, available_processors, quota_processors
from blemish.runtime.threads import ensure_threads

LEAST_FREE_MB = 1000
"""Free space that a folder should have, in MB: the results of some thousand images."""

_BROKEN = (ImportError, OSError, RuntimeError, AttributeError)
"""What importing a damaged package or one that does not fit PyTorch raises."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what was checked, in a few words.
        found: what was found.
        remedy: what to do; None if there is no problem.
    """

    name: str
    found: str
    remedy: str | None = None


def check_torch() -> Check:
    """Whether PyTorch can be imported, with version and build."""
    try:
        torch = importlib.import_module("torch")
    except _BROKEN as error:
        return Check("torch", f"cannot be imported ({_first_line(error)})", "install it again: pip install torch")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Check("torch", f"{torch.__version__}, {build}")


def check_torchvision(name: str = "torchvision") -> Check:
    """Whether torchvision is either absent or fits PyTorch; only models of timm use it."""
    if importlib.util.find_spec(name) is None:
        return Check(name, "not installed; only timm models need it")
    try:
        version = getattr(importlib.import_module(name), "__version__", "unknown version")
    except _BROKEN as error:
        return Check(
            name,
            f"installed, but it cannot be imported ({_first_line(error)})",
            "install torch and torchvision together, from one source: pip install --force-reinstall torch torchvision",
        )
    return Check(name, str(version))


def check_gpu(driver: Path = Path("/proc/driver/nvidia/version")) -> Check:
    """Whether a GPU that the system has can be used.

    Args:
        driver: exists if the system has a driver of NVIDIA.
    """
    try:
        torch = importlib.import_module("torch")
    except _BROKEN:
        return Check("GPU", "unknown without torch")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Check("GPU", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not driver.exists():
        return Check("GPU", "none; runs use the processor")
    if torch.version.cuda is None:
        return Check(
            "GPU", "there is one, but torch is a CPU build", "install a CUDA build of torch, or use --device cpu"
        )
    return Check(
        "GPU",
        f"there is one, but torch with CUDA {torch.version.cuda} cannot use it",
        "install a build of torch that fits the driver, or use --device cpu",
    )


def check_processors(threads: int | None = None) -> Check:
    """How many processors this process may use, and whether computations use more threads than that.

    Args:
        threads: number of threads of computations; None = that of PyTorch.
    """
    affine, quota, available = affine_processors(), quota_processors(), available_processors()
    if threads is None:
        try:
            threads = int(importlib.import_module("torch").get_num_threads())
        except _BROKEN:
            threads = available
    limit = f", CPU quota {quota}" if quota is not None else ""
    found = f"{available} of {os.cpu_count() or affine} processors (affinity {affine}{limit}), {threads} threads"
    if threads > available:
        return Check(
            "threads", found, f"unset OMP_NUM_THREADS, or give --threads {available}; more threads wait for each other"
        )
    try:
        ensure_threads(threads)
    except BlemishError as error:
        return Check("threads", found, str(error))
    return Check("threads", found)


def check_weights(read: Callable[[], object]) -> Check:
    """Whether the embedded weights are there and undamaged.

    Args:
        read: reads the weights and compares their digest.
    """
    try:
        read()
    except (BlemishError, OSError) as error:
        return Check("weights", _first_line(error), "install blemish again: pip install --force-reinstall blemish")
    return Check("weights", "the digest of the embedded weights is right")


def check_folder(name: str, folder: Path, remedy: str, least_free_mb: int = LEAST_FREE_MB) -> Check:
    """Whether a folder can be written and has free space. A folder that does not exist is judged by the one above it.

    Args:
        name: of the check.
        folder: the folder.
        remedy: what to do if it cannot be written.
        least_free_mb: free space that it should have.
    """
    existing = next((one for one in (folder, *folder.absolute().parents) if one.exists()), Path("/"))
    try:
        tempfile.TemporaryFile(dir=existing).close()
        free = shutil.disk_usage(existing).free / 1e6
    except OSError as error:
        return Check(name, f"{shown(folder)}: cannot be written ({error.strerror or error})", remedy)
    found = f"{shown(folder)}: can be written, {free / 1000:.1f} GB free"
    return Check(name, found, "free some space" if free < least_free_mb else None)


def folder_size(folder: Path) -> tuple[int, int]:
    """Number of files in a folder and of bytes in them; files that vanish meanwhile do not count."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)
            except OSError:
                continue
    return len(sizes), sum(sizes)


def _first_line(error: BaseException) -> str:
    return shown((str(error).splitlines() or [type(error).__name__])[0])[:200]
