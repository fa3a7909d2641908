"""Seconds per batch of the embedded backbone and of the development networks, same threads, same run, fp32,
interleaved.

    python -m benchmarks.backbone_speed --size 512 --batch 4 --rounds 7

Prints the smallest of `rounds` times for each network up to strides 8 and 16, and its ratio to ResNet-50's.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from benchmarks.teachers import Teacher

from blemish.backbones import embedded


def main(argv: list[str] | None = None) -> None:
    """Time every network and print one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rgb = torch.rand(args.batch, 3, args.size, args.size)
    whole = embedded.load_embedded()
    nets = {
        "embedded to 8": embedded.EmbeddedBackbone("embedded", whole.trunk, whole.digest, "cpu", (4, 8)),
        "embedded to 16": whole,
        "resnet50 to 8": Teacher("resnet50", (4, 8)),
        "resnet50 to 16": Teacher("resnet50", (4, 8, 16)),
        "resnet18 to 16": Teacher("resnet18", (4, 8, 16)),
        "squeezenet to 8": Teacher("squeezenet"),
    }
    best = dict.fromkeys(nets, float("inf"))
    for _ in range(args.rounds):
        for name, net in nets.items():
            start = time.perf_counter()
            net(rgb)
            best[name] = min(best[name], time.perf_counter() - start)
    ratios = {f"ratio to {s}": round(best[f"embedded to {s}"] / best[f"resnet50 to {s}"], 3) for s in (8, 16)}
    print(json.dumps({**vars(args), "seconds": {k: round(v, 4) for k, v in best.items()}, **ratios}))


if __name__ == "__main__":
    main()
