"""blemish: find defects in images of one texture and sort them into types, without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blemish.runtime.environment import prepare_environment

__version__ = "0.1.0"

__all__ = ["BlindAnomalyClustering", "Config", "FittedModel", "Result", "run"]

if TYPE_CHECKING:
    from blemish.config.schema import Config
    from blemish.estimator import BlindAnomalyClustering
    from blemish.model import FittedModel
    from blemish.pipeline import run
    from blemish.results import Result

prepare_environment()  # before a library that computes is loaded

_HOMES = {
    "BlindAnomalyClustering": "estimator",
    "Config": "config.schema",
    "FittedModel": "model",
    "Result": "results",
    "run": "pipeline",
}


def __getattr__(name: str) -> Any:
    # torch and scikit-learn take seconds to import: only when something is used
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"blemish.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'blemish' has no attribute {name!r}")
