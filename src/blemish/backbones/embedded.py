"""The network in the package: checked weights, and the call that maps images of any size."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from blemish.backbones.network import WIDTHS, Trunk, channels_last
from blemish.backbones.weights_digest import SHA256
from blemish.errors import InputError, WeightsError

WEIGHTS = "embedded.safetensors"
MARGIN = 16
"""Pixels by which the image is mirrored outwards, so that the outer cells of the maps see texture instead of zeros; a
multiple of every stride."""
REACH = {4: 16, 8: 44, 16: 100}
"""Stride of a map -> pixels by which a cell sees beyond its center; larger by half a kernel of every convolution."""
SMALLEST, LARGEST = 16, 8000
"""Smallest and largest side of an image in pixels."""


class EmbeddedBackbone:
    """A `Backbone` with the embedded architecture and any weights.

    The image is mirrored outwards by `MARGIN` pixels (the pixel on the border is repeated once), which costs an eighth more
    time at 512 px. Away from the border the maps are those of the bare network. It computes in float32, channels last.

    Attributes:
        margin: number of mirrored pixels; a caller that mirrors the image further may subtract them.
        reach: stride -> pixels by which a cell of that map sees beyond its center.
    """

    margin, reach = MARGIN, REACH

    def __init__(self, name: str, trunk: nn.Module, digest: str, device: str) -> None:
        self.name, self.digest, self.device = name, digest, torch.device(device)
        self.strides: tuple[int, ...] = tuple(WIDTHS)
        self.channels = dict(WIDTHS)
        self.trunk = channels_last(trunk.eval().requires_grad_(False).to(self.device))

    def limited_to(self, strides: tuple[int, ...]) -> EmbeddedBackbone:
        """The same network, stopped after the last of these strides; it shares the weights."""
        limited = copy.copy(self)  # the constructor would lay out the weights once more, a few milliseconds per call
        limited.strides, limited.channels = strides, {stride: WIDTHS[stride] for stride in strides}
        return limited

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        """Feature maps of images.

        Args:
            rgb: B x 3 x H x W, or B x 1 x H x W for gray, in [0, 1]; sides from 16 to 8 000 px, any aspect ratio.

        Returns:
            {stride: B x C x ceil(H / stride) x ceil(W / stride)}, >= 0.

        Raises:
            InputError: the images are not as above.

        Cost: about 50 ms for an image of 512 x 512 px on two cores.
        """
        check_input(rgb)
        height, width = rgb.shape[2:]
        rgb = rgb.to(self.device, torch.float32).expand(-1, 3, -1, -1)
        with torch.inference_mode():
            maps = self.trunk(mirrored(rgb, MARGIN).contiguous(memory_format=torch.channels_last), max(self.strides))
            return {stride: cropped(maps[stride], MARGIN // stride, height, width, stride) for stride in self.strides}


def check_input(rgb: Tensor) -> None:
    """Raise InputError unless rgb is B x 3 x H x W or B x 1 x H x W, floating point, with sides within the limits."""
    if rgb.ndim != 4 or rgb.shape[1] not in (1, 3) or not rgb.is_floating_point():
        raise InputError(
            f"a backbone takes a float tensor B x 3 x H x W in [0, 1], got {rgb.dtype} of shape {tuple(rgb.shape)}"
        )
    if rgb.shape[0] < 1 or not all(SMALLEST <= side <= LARGEST for side in rgb.shape[2:]):
        raise InputError(
            f"a backbone takes one image or more with sides from {SMALLEST} to {LARGEST} px, "
            f"got shape {tuple(rgb.shape)}"
        )


def mirrored(x: Tensor, margin: int) -> Tensor:
    """B x C x H x W extended by `margin` cells on each side, mirrored at the edge with the edge itself repeated.

    >>> mirrored(torch.arange(4.0).view(1, 1, 1, 4), 2)[0, 0, 2].tolist()
    [1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 2.0]
    """
    for dim in (2, 3):
        side = x.shape[dim]
        index = torch.arange(-margin, side + margin, device=x.device)
        index = index % torch.full_like(index, 2 * side)  # ONNX has no remainder by a symbolic number
        x = x.index_select(dim, torch.minimum(index, 2 * side - 1 - index))
    return x


def cropped(maps: Tensor, margin: int, height: int, width: int, stride: int) -> Tensor:
    """The maps without `margin` cells above and to the left, cut to ceil(side / stride) cells along each side."""
    rows, columns = -(-height // stride), -(-width // stride)
    return maps[:, :, margin : margin + rows, margin : margin + columns].contiguous()


def weights_path() -> Path:
    """Path of the weights in the package."""
    return Path(str(resources.files("blemish.backbones").joinpath(WEIGHTS)))


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32, after a check of its SHA-256.

    Raises:
        WeightsError: the file is missing, truncated or altered.
    """
    remedy = "install blemish again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the embedded weights {path} ({error.strerror}): {remedy}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"the embedded weights {path} are truncated or altered "
            f"({len(content)} bytes, SHA-256 {found[:12]}, expected {sha256[:12]}): {remedy}"
        )
    from safetensors.torch import load

    return {key: value.float() for key, value in load(content).items()}


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and bytes of tensors, in the order of their names.

    >>> digest_of({"a": torch.zeros(2)}) == digest_of({"a": torch.zeros(2)}) != digest_of({"a": torch.ones(2)})
    True
    """
    sha = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key].detach().cpu().contiguous()
        sha.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()


def load_embedded(device: str = "cpu") -> EmbeddedBackbone:
    """The backbone with the weights of the package."""
    trunk = Trunk(norm=False)
    trunk.load_state_dict(read_weights(weights_path(), SHA256))
    return EmbeddedBackbone("embedded", trunk, SHA256, device)


def load_random(seed: int, device: str = "cpu") -> EmbeddedBackbone:
    """The same architecture with seeded He-normal weights and zero biases; each map has a mean square near one."""
    trunk, rng = Trunk(norm=False), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in trunk.named_parameters():
            if value.ndim == 1:
                value.zero_()
                continue
            fan_in = value[0].numel()
            # Every block adds two branches of equal power; half the power for each keeps the power of the sum.
            share = 1.0 if key.startswith("stem") or ".first." in key else 0.5
            value.copy_(torch.randn(value.shape, generator=rng) * (2 * share / fan_in) ** 0.5)
    return EmbeddedBackbone(f"random:{seed}", trunk, digest_of(trunk.state_dict()), device)
