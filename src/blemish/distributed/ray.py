"""Inspection by Ray: workers on one machine or on a cluster, each with the model, take the images in batches."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blemish import __version__
from blemish.backbones import load_backbone
from blemish.config.sections import Cache
from blemish.distributed.merging import merge_results
from blemish.distributed.parts import Parts
from blemish.errors import BlemishError, ConfigError, InputError, MissingDependencyError, shown
from blemish.images import Listing, NothingReadableError, as_place, list_set
from blemish.images.finding.places import absolute
from blemish.model import FittedModel
from blemish.results import Result
from blemish.runtime.device import choose_device
from blemish.runtime.progress import Progress, Stage, StageTimer
from blemish.runtime.spill import ArrayStore
from blemish.types import Skipped

BATCH = 32
"""Files that a worker takes at a time. If it dies, no more than these are computed again."""

RESTARTS = 3
"""How often a worker that has died is started again."""

CONNECT_SECONDS = 20
"""Longest wait for the answer of a cluster."""

START_SECONDS = 300
"""Longest wait for the first worker: a cluster may have to start machines."""

_log = logging.getLogger(__name__)


class Worker:
    """What runs in a process of its own, possibly on another machine.

    Args:
        backbone: name of the model's network.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: number of threads.
    """

    def __init__(self, backbone: str, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = device
        self._model: FittedModel | None = None
        self._network = load_backbone(backbone, choose_device(device))

    def introduce(self) -> dict[str, str]:
        """Host, version of blemish and digest of the network's weights."""
        return {"host": socket.gethostname(), "blemish": __version__, "weights": self._network.digest}

    def inspect(self, content: bytes, files: Listing) -> tuple[Result | None, list[Skipped]]:
        """Inspect some files.

        Args:
            content: the model, see :attr:`FittedModel.content`; the same in every call. A worker that was started again
                gets it from here too.
            files: the files.

        Returns:
            The result without the model, and the files that cannot be read; None if none of them can.
        """
        model = self._model = self._model or FittedModel.from_content(content)
        try:
            result = model.predict(model.source(files), device=self._device, backbone=self._network)
        except NothingReadableError as error:
            return None, error.skipped
        return replace(result, maps=list(result.maps), model=None), result.skipped


def predict_with_ray(
    model: FittedModel,
    images: str | Path,
    *,
    address: str | None = None,
    device: str = "auto",
    threads: int = 1,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Result:
    """Inspect the images of a set by workers of Ray. The result is that of :meth:`FittedModel.predict`.

    Args:
        model: the fitted model. The workers get it from here; they need blemish, and the files under the same paths.
        images: as for :func:`blemish.images.list_set`.
        address: ``auto`` for the cluster of this machine, or ``HOST:PORT``; None starts Ray on this machine.
        device: ``auto``, ``cpu`` or ``cuda``. With GPUs there is one worker for each, otherwise one per ``threads`` CPUs.
        threads: threads of each worker.
        cache: where the answers of the workers are kept, so that a prediction that was killed goes on; None: nowhere.
        progress: a display that is told of the stage.

    Raises:
        MissingDependencyError: Ray is not installed.
        InputError: nobody answers at the address, a worker has another version of blemish or other weights, or no image
            can be read.

    Cost: of each worker, the memory of one :meth:`FittedModel.predict`; here, that of all results without maps.
    """
    require_ray()
    timer = StageTimer(progress)
    with timer.stage(Stage.READ) as advance:
        listing = list_set(as_place(images))
        listing = replace(listing, images=[absolute(place) for place in listing.images])
        count = math.ceil(len(listing.images) / BATCH)
        batches = [replace(listing.part(i, count), passed_over=[]) for i in range(1, count + 1)]
        advance(1)
    parts, gathered, missing = Parts(cache, model, device, threads), Gathered(), list[Listing]()
    with timer.stage(Stage.ANOMALY_MAPS, len(listing.images)) as advance:
        for files in batches:
            known = parts.get(files)
            if known is None:
                missing.append(files)
            else:
                gathered.add(known)
                advance(len(files.images))
        for files, result, unreadable in _computed(missing, model, address, device, threads):
            if result is not None:
                parts.put(files, result)
                gathered.add(result)
            gathered.skipped += unreadable
            advance(len(files.images))
    skipped = sorted(gathered.skipped, key=lambda one: one.path)
    for one in skipped:
        _log.warning("skipped %s", one.reason)
    if not gathered.results:
        raise NothingReadableError(f"no readable image in {shown(images)}; give a folder with readable images", skipped)
    merged = merge_results(gathered.results, model)
    passed_over = [{"path": one.path, "reason": one.reason} for one in listing.passed_over]
    info = merged.info | {"passed_over": passed_over, "engine": "ray", "cache": parts.report()}
    return replace(merged, source=str(images), skipped=skipped, info=info, timings=timer.timings)


def _computed(
    batches: Sequence[Listing], model: FittedModel, address: str | None, device: str, threads: int
) -> Iterator[tuple[Listing, Result | None, list[Skipped]]]:
    """Each batch with its result and the files that cannot be read; without batches, Ray is not started."""
    if not batches:
        return
    with _connected(address):
        workers = _workers(model, device, threads, len(batches))
        for files, (result, unreadable) in _answers(workers, model, batches):
            yield files, result, unreadable


class Gathered:
    """The results of the batches so far, with their maps in a temporary file, and the files that cannot be read."""

    def __init__(self) -> None:
        self.results, self.skipped = list[Result](), list[Skipped]()
        self._store = ArrayStore()

    def add(self, result: Result) -> None:
        """Add the result of one batch."""
        # what Ray hands over cannot be written to, and takes its memory until it is copied
        maps = self._store.view(self._store.add(map(np.array, result.maps)))
        self.results.append(replace(result, maps=maps, skipped=[]))


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        MissingDependencyError: it is not; the message says how to install it.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingDependencyError("the engine ray needs Ray: pip install 'blemish[ray]'; --shard works without it")


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """A connection to a cluster, or Ray on this machine; both end with the context."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is not None:
        _require_answer(address)
    import ray

    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise InputError unless a cluster answers. Another process asks, because Ray itself waits for minutes."""
    if "://" in address:
        raise ConfigError(f"--address {shown(address)[:80]!r} is no address of a cluster; give auto or HOST:PORT")
    question = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"
    command = [sys.executable, "-c", question, address]
    try:
        subprocess.run(command, capture_output=True, timeout=CONNECT_SECONDS, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        raise InputError(
            f"no cluster of Ray answers at {shown(address)[:80]}; start one with ray start --head, check the address, that "
            "both have one version of Ray, and RAY_AUTH_MODE if the cluster asks for a token"
        ) from error


def _workers(model: FittedModel, device: str, threads: int, most: int) -> list[Any]:
    """Workers for all GPUs or CPUs, of which one at least has started.

    Raises:
        InputError: a worker does not start, or has another version of blemish or other weights.
    """
    import ray

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if device != "cpu" else 0
    count = gpus or max(1, int(resources.get("CPU", 1)) // threads)
    share = {"num_gpus": 1} if gpus else {"num_cpus": min(threads, int(resources.get("CPU", 1)))}
    remote: Any = ray.remote(max_restarts=RESTARTS, max_task_retries=RESTARTS, **share)(Worker)
    arguments = (model.config.backbone.name, device if gpus else "cpu", threads)
    workers = [remote.remote(*arguments) for _ in range(min(count, most))]
    try:
        introduced = ray.get([one.introduce.remote() for one in workers], timeout=START_SECONDS)
    except ray.exceptions.RayError as error:
        raise InputError(f"a worker of Ray does not start ({_reason(error)}); install blemish there") from error
    for one in introduced:
        check_worker(one, model)
    return workers


def check_worker(introduced: dict[str, str], model: FittedModel) -> None:
    """Raise InputError unless a worker has this version of blemish and the weights of the model."""
    host = shown(introduced["host"])
    if introduced["blemish"] != __version__:
        raise InputError(
            f"the worker on {host} has blemish {introduced['blemish']}, and this is {__version__}; install one version"
        )
    if introduced["weights"] != model.weights_sha256:
        raise InputError(
            f"the worker on {host} has other weights of the network {model.config.backbone.name} "
            f"({introduced['weights'][:12]}) than the model ({model.weights_sha256[:12]}); install one version"
        )


def _answers(workers: Sequence[Any], model: FittedModel, batches: Sequence[Listing]) -> Iterator[tuple[Listing, Any]]:
    """Each batch with its result, in the order in which they are done. A worker has one batch and one that waits.

    Raises:
        BlemishError: a worker died more than :data:`RESTARTS` times.
    """
    import ray

    waiting, running = list(reversed(batches)), dict[Any, tuple[Any, Listing]]()
    free, content = [*workers, *workers], ray.put(model.content)
    while waiting or running:
        while waiting and free:
            worker, files = free.pop(0), waiting.pop()
            running[worker.inspect.remote(content, files)] = worker, files
        done, _ = ray.wait(list(running), num_returns=1)
        worker, files = running.pop(done[0])
        free.append(worker)
        try:
            answer = ray.get(done[0])
        except ray.exceptions.RayError as error:
            raise BlemishError(f"a worker of Ray failed with {shown(files.names[0])} ({_reason(error)})") from error
        yield files, answer


def _reason(error: Exception) -> str:
    """The last line of what Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shown(lines[-1] if lines else type(error).__name__)[:300]
