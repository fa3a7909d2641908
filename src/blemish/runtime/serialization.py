"""Values as the content of one safetensors file, and back. No pickle.

Arrays and tensors are stored under the names ``0``, ``1``, ... A JSON tree in the file's metadata says where each of them
belongs, and a checksum stands beside it. Besides plain values, a file can hold objects of classes that the reader names:
dataclasses, sections of settings, and networks with a ``from_state``. The file holds only the name of a class, and a name
that the reader did not list is refused, so a file cannot run code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

Arrays = dict[str, npt.NDArray[Any]]


_MALFORMED = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError)
"""What reading raises on content that is not ours, for example an unknown class or a state of other shapes."""


class UnreadableEntry(ValueError):
    """These bytes are not a complete file of ours, or not the one that was expected."""


def to_bytes(value: Any, name: str = "") -> bytes:
    """A value as the content of a safetensors file.

    Args:
        value: None, numbers, text, arrays, tensors, lists, tuples, dictionaries with text keys, dataclasses, sections of
            settings, and networks with a ``from_state``, nested to any depth.
        name: stored with the value; the reader has to give the same name.

    Raises:
        TypeError: anything else.
    """
    from safetensors.numpy import save

    arrays: Arrays = {}
    tree = json.dumps(_pack(value, arrays))
    note = json.dumps({"name": name, "tree": tree, "sha256": _checksum(name, tree, arrays)})
    return save(arrays, metadata={"blemish": note})  # one key: safetensors writes several in random order


def from_bytes(content: bytes, classes: Collection[type] = (), name: str = "") -> Any:
    """The value that :func:`to_bytes` was given, with tensors on the CPU.

    Args:
        content: of a whole file.
        classes: the classes that the value may contain.
        name: that the value was stored with.

    Raises:
        UnreadableEntry: truncated, altered, not ours, stored with another name, or with a class that is not among
            ``classes``.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        note = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["blemish"])
        if note["sha256"] != _checksum(note["name"], note["tree"], arrays):
            raise UnreadableEntry("the checksum is wrong")
        if note["name"] != name:
            raise UnreadableEntry("it was stored under another name")
        return _unpack(json.loads(note["tree"]), arrays, _by_name(classes))
    except UnreadableEntry:
        raise
    except (SafetensorError, ValidationError, *_MALFORMED) as error:
        raise UnreadableEntry(f"it is damaged: {type(error).__name__}") from error


def canonicalized(value: Any, classes: Collection[type] = ()) -> Any:
    """The value as :func:`from_bytes` would return it: the same numbers, in the same memory layout.

    Matrix products can differ in the last bit with the memory layout of their factors. A run that computes a value and a
    run that reads it from the cache therefore both use the canonical layout.
    """
    arrays: Arrays = {}
    return _unpack(_pack(value, arrays), arrays, _by_name(classes))


def _by_name(classes: Collection[type]) -> dict[str, type]:
    return {one.__name__: one for one in classes}


def _checksum(name: str, tree: str, arrays: Arrays) -> str:
    sha = hashlib.sha256(f"{name}\n{tree}".encode())
    for key in sorted(arrays):
        array = arrays[key]
        sha.update(f"{key} {array.dtype.str} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return sha.hexdigest()


def _stored(array: npt.NDArray[Any], arrays: Arrays) -> str:
    name = str(len(arrays))
    arrays[name] = np.ascontiguousarray(array)
    return name


def _pack(value: Any, arrays: Arrays) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.ndim:  # safetensors turns an array without axes into a vector
        return {"array": _stored(value, arrays)}
    if isinstance(value, Tensor) and value.ndim:
        return {"tensor": _stored(value.detach().cpu().numpy(), arrays)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_pack(one, arrays) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[str(key), _pack(one, arrays)] for key, one in value.items()]}
    name = type(value).__name__
    if isinstance(value, BaseModel):
        return {"settings": name, "values": value.model_dump_json()}
    if isinstance(value, nn.Module) and hasattr(value, "from_state"):
        return {"network": name, "state": _pack(dict(value.state_dict()), arrays)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"class": name, "fields": _pack(fields, arrays)}
    raise TypeError(f"a file cannot hold a {name}")


def _unpack(tree: Any, arrays: Arrays, classes: Mapping[str, Any]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]].copy()
    if "tensor" in tree:
        # torch's own memory, aligned like that of a freshly computed tensor
        return torch.from_numpy(arrays[tree["tensor"]].copy()).clone()
    if "list" in tree or "tuple" in tree:
        kind = list if "list" in tree else tuple
        return kind(_unpack(one, arrays, classes) for one in tree[kind.__name__])
    if "dict" in tree:
        return {key: _unpack(one, arrays, classes) for key, one in tree["dict"]}
    if "settings" in tree:
        return classes[tree["settings"]].model_validate_json(tree["values"])
    if "network" in tree:
        return classes[tree["network"]].from_state(_unpack(tree["state"], arrays, classes)).eval()
    return classes[tree["class"]](**_unpack(tree["fields"], arrays, classes))


def are_arrays(values: Any, count: int, ndim: int, dtype: npt.DTypeLike = np.float32, lowest: float = -np.inf) -> bool:
    """Whether something read from a file is a list of ``count`` arrays as described.

    Args:
        values: anything.
        count: number of arrays.
        ndim: number of axes of each; all arrays have the same shape.
        dtype: type of each.
        lowest: the smallest number allowed; infinities and NaN never are.
    """
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(
        isinstance(one, np.ndarray)
        and one.dtype == dtype
        and one.ndim == ndim
        and one.shape == values[0].shape
        and bool(np.isfinite(one).all())
        and bool((one >= lowest).all())
        for one in values
    )


def are_places(values: Any, length: int) -> bool:
    """Whether something read from a file is a list of different places in a sequence of ``length`` items."""
    return (
        isinstance(values, list)
        and all(type(one) is int and 0 <= one < length for one in values)
        and len(set(values)) == len(values)
    )
