"""What a cache entry holds: values as plain arrays and JSON, in one safetensors file, and back. No pickle.

The tensors keep their names ``0``, ``1``, ...; the tree that says where each belongs stands in the file's metadata,
beside a checksum. Classes are looked up by name in :mod:`blemish.localization.model` and
:mod:`blemish.descriptors.contrastive` and nowhere else, so a file cannot name code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from blemish.config.schema import Config

Arrays = dict[str, npt.NDArray[Any]]


class UnreadableEntry(ValueError):
    """These bytes are no whole entry of ours."""


def to_bytes(value: Any) -> bytes:
    """A value as the content of a safetensors file.

    Args:
        value: None, numbers, text, arrays, tensors, lists, tuples, dictionaries with text keys, the dataclasses that a
            fitted :class:`blemish.localization.model.Normality` is made of, and networks with a ``from_state``; nested at will.

    Raises:
        TypeError: anything else.
    """
    from safetensors.numpy import save

    arrays: Arrays = {}
    tree = json.dumps(_pack(value, arrays))
    return save(arrays, metadata={"tree": tree, "sha256": _checksum(tree, arrays)})


def from_bytes(content: bytes, config: Config | None = None) -> Any:
    """What :func:`to_bytes` was given, tensors on the CPU; a :class:`Config` inside becomes ``config``.

    Raises:
        UnreadableEntry: truncated, altered, or not ours.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        note = json.loads(content[8 : 8 + size])["__metadata__"]
        if note["sha256"] != _checksum(note["tree"], arrays):
            raise UnreadableEntry("checksum")
        return _unpack(json.loads(note["tree"]), arrays, config)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableEntry(str(error)) from error


def settled(value: Any, config: Config) -> Any:
    """A value as it comes back from an entry: the same numbers in the same memory layout, stored or not.

    Matrix products may differ in the last bit with the layout of what they multiply.
    """
    arrays: Arrays = {}
    return _unpack(_pack(value, arrays), arrays, config)


def _checksum(tree: str, arrays: Arrays) -> str:
    sha = hashlib.sha256(tree.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return sha.hexdigest()


def _kept(array: npt.NDArray[Any], arrays: Arrays) -> str:
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array)
    return name


def _pack(value: Any, arrays: Arrays) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Config):
        return {"config": None}
    if isinstance(value, np.ndarray) and value.ndim:  # safetensors makes a vector of what has no axis
        return {"array": _kept(value, arrays)}
    if isinstance(value, Tensor) and value.ndim:
        return {"tensor": _kept(value.detach().cpu().numpy(), arrays)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_pack(one, arrays) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _pack(one, arrays)] for key, one in value.items()]}
    if isinstance(value, nn.Module) and hasattr(value, "from_state"):
        return {"network": type(value).__name__, "state": _pack(dict(value.state_dict()), arrays)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, "fields": _pack(fields, arrays)}
    raise TypeError(f"a cache entry cannot hold a {type(value).__name__}")


def _unpack(tree: Any, arrays: Arrays, config: Config | None) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "config" in tree:
        return config
    if "array" in tree:
        return arrays[tree["array"]].copy()
    if "tensor" in tree:
        # torch's own memory: aligned as that of a freshly computed tensor
        return torch.from_numpy(arrays[tree["tensor"]].copy()).clone()
    if "list" in tree or "tuple" in tree:
        kind = list if "list" in tree else tuple
        return kind(_unpack(one, arrays, config) for one in tree[kind.__name__])
    if "dict" in tree:
        return {key: _unpack(one, arrays, config) for key, one in tree["dict"]}
    if "network" in tree:
        return _class(tree["network"]).from_state(_unpack(tree["state"], arrays, config)).eval()
    return _class(tree["class"])(**_unpack(tree["fields"], arrays, config))


def _class(name: str) -> Any:
    from blemish.descriptors import contrastive
    from blemish.localization import model

    found = getattr(model, name, None) or getattr(contrastive, name)
    if not (isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, nn.Module))):
        raise UnreadableEntry(f"{name} is no class that an entry may hold")
    return found
