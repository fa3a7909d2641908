"""The autoencoder trained on sampled feature vectors, as here, against whole images, as published.

    python -m benchmarks.vae_sampling --data FOLDER [--sets leather] [--backbone embedded] [--steps 300] [--write]

Both kinds of training get the same number of vectors: batches of whole images, or batches of as many vectors drawn from
a sample over all images. The anomaly maps of held-out images are compared.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import timed
from benchmarks._results import Column
from benchmarks._sets import LABELED, labeled_sets
from benchmarks._teachers import load
from blemish.localization.fca import fca_map
from blemish.localization.reconstruction import VAE, residual_l2, train_vae, vae_loss, vae_residual
from blemish.runtime.random import draw_places, seeded_generator

BENCHMARK = Benchmark(
    name="vae_sampling",
    title="Training the autoencoder on sampled vectors",
    text=(
        "Correlation of the anomaly maps of held-out images with those after training on whole images, seed 0. The "
        "second row is what another seed alone changes."
    ),
    columns=(
        Column("training"),
        Column("seed", "integer"),
        Column("vae_fca, all cells", "number", digits=4),
        Column("vae_fca, worst image", "number", digits=4),
        Column("vae_l2, all cells", "number", digits=4),
        Column("vae_l2, worst image", "number", digits=4),
        Column("time", "number", "s", 1),
    ),
)

PATCHES = 512
"""Vectors of each image in the sample, as ``localization.vae.patches_per_image`` has it."""


def train_on_images(images: list[Tensor], steps: int, images_per_batch: int, seed: int) -> VAE:
    """The published training: every batch is all vectors of some images; settings as those of ``train_vae``."""
    generator = seeded_generator(seed)
    model = VAE(images[0].shape[0], 512, 128, generator=generator).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    for _ in range(steps):
        chosen = torch.randperm(len(images), generator=generator)[:images_per_batch]
        vectors = torch.cat([images[index].flatten(1).T for index in chosen.tolist()])
        noise = torch.randn(len(vectors), 128, generator=generator)
        optimizer.zero_grad(set_to_none=True)
        reconstruction, mu, log_sigma = model(vectors, noise)
        vae_loss(vectors, reconstruction, mu, log_sigma, 1e-3).backward()
        optimizer.step()
    return model.eval()


def train_on_sample(images: list[Tensor], steps: int, batch_size: int, seed: int) -> VAE:
    """The training of blemish, on PATCHES vectors of each image."""
    generator = seeded_generator(seed)
    cells = [one.flatten(1).T for one in images]
    sample = torch.cat([one[draw_places(len(one), PATCHES, generator)] for one in cells])
    return train_vae(sample, steps=steps, batch_size=batch_size, seed=seed)


@torch.inference_mode()
def collect(paths: list[Path], backbone: str, size: int) -> list[Tensor]:
    """Feature maps of stride 8 of images brought to size x size, each channel of each image scaled to [0, 1]."""
    network, found = load(backbone), []
    for path in paths:
        with Image.open(path) as file:
            pixels = np.asarray(file.convert("RGB").resize((size, size)), np.float32) / 255
        features = network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[8][0].float()
        low, high = features.amin((1, 2), keepdim=True), features.amax((1, 2), keepdim=True)
        found.append((features - low) / (high - low).clamp_min(1e-12))
    return [one.clone() for one in found]


def maps(model: VAE, held_out: Tensor) -> dict[str, np.ndarray]:
    """Anomaly maps of both methods."""
    residual = vae_residual(model, held_out)
    return {"vae_fca": fca_map(residual, border=0).numpy(), "vae_l2": residual_l2(residual).numpy()}


def agreement(found: np.ndarray, base: np.ndarray) -> list[float]:
    """Correlation over all cells, and the least of an image."""
    each = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found, base, strict=True)]
    return [round(float(np.corrcoef(found.ravel(), base.ravel())[0, 1]), 5), round(float(min(each)), 5)]


def measure(args: argparse.Namespace, report: Report) -> None:
    """Train both ways with both seeds and compare the maps."""
    (data,) = labeled_sets(args.data, [args.name], args.images + args.held_out)
    order = np.random.default_rng(0).permutation(len(data))
    features = collect([data.paths[index] for index in order], args.backbone, args.size)
    held_out, seen = torch.stack(features[: args.held_out]), features[args.held_out :]
    batch_size = args.images_per_batch * seen[0][0].numel()
    base: dict[str, np.ndarray] = {}
    for training in ("whole images", "sampled vectors"):
        for seed in (0, 1):
            if training == "whole images":
                seconds, model = timed(partial(train_on_images, seen, args.steps, args.images_per_batch, seed))
            else:
                seconds, model = timed(partial(train_on_sample, seen, args.steps, batch_size, seed))
            found = maps(model, held_out)
            base = base or found
            report.add(
                training,
                seed,
                *agreement(found["vae_fca"], base["vae_fca"]),
                *agreement(found["vae_l2"], base["vae_l2"]),
                round(seconds, 2),
            )


def main() -> None:
    """Measure one set."""
    options = parser(__doc__, data=True)
    options.add_argument("--sets", choices=list(LABELED), default="leather", dest="name", help="the set")
    options.add_argument("--backbone", default="embedded")
    options.add_argument("--images", type=int, default=48, help="images to train on")
    options.add_argument("--held-out", type=int, default=16, help="images whose maps are compared")
    options.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--images-per-batch", type=int, default=2)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, (0, 1))
    measure(args, report)
    report.end()


if __name__ == "__main__":
    main()
