"""Seconds per batch of the embedded network and of others, turn by turn with the same threads.

python -m benchmarks.backbone_speed [--size 512] [--batch 4] [--rounds 7] [--threads 2] [--write]
"""

from __future__ import annotations

import torch

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import interleaved
from benchmarks._results import Column
from benchmarks._teachers import Teacher
from blemish.backbones import load_backbone

BENCHMARK = Benchmark(
    name="backbone_speed",
    title="Speed of the embedded network",
    text=(
        "Least seconds for one batch of images in single precision, up to the map of the given stride. The last column "
        "is the share of ResNet-50's time for the same strides."
    ),
    columns=(
        Column("network"),
        Column("last stride", "integer"),
        Column("time", "number", "s"),
        Column("share of ResNet-50", "number", digits=2),
    ),
)


def main() -> None:
    """Time every network."""
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    options.add_argument("--batch", type=int, default=4, help="images in a batch")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    images = torch.rand(args.batch, 3, args.size, args.size, generator=torch.Generator().manual_seed(0))
    embedded = load_backbone("embedded")
    networks = {
        ("embedded", 8): embedded.limited_to((4, 8)),  # type: ignore[attr-defined]
        ("embedded", 16): embedded,
        ("ResNet-50", 8): Teacher("resnet50", (4, 8)),
        ("ResNet-50", 16): Teacher("resnet50", (4, 8, 16)),
        ("ResNet-18", 16): Teacher("resnet18", (4, 8, 16)),
        ("SqueezeNet", 8): Teacher("squeezenet"),
    }
    calls = {
        f"{name} {stride}": lambda network=network: network(images) for (name, stride), network in networks.items()
    }
    seconds = interleaved(calls, args.rounds)
    report = Report(BENCHMARK, args.write)
    for name, stride in networks:
        found = seconds[f"{name} {stride}"]
        report.add(name, stride, round(found, 4), round(found / seconds[f"ResNet-50 {stride}"], 4))
    report.end()


if __name__ == "__main__":
    main()
