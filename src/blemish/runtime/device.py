"""The choice between processor and GPU. No other module names a device."""

from __future__ import annotations

from blemish.errors import ConfigError


def choose_device(wanted: str) -> str:
    """The device to compute on.

    Args:
        wanted: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    Returns:
        ``cpu`` or ``cuda``.

    Raises:
        ConfigError: ``cuda`` is wanted but PyTorch finds no GPU.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda but PyTorch finds no GPU: use --device cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
