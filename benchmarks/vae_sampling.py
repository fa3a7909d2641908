"""Does the autoencoder learn the same from sampled vectors as from whole images? python benchmarks/vae_sampling.py

Both are given the same number of vectors: batches of `--images-per-batch` whole images, or batches of as many vectors
drawn from a reservoir over all images. On held-out images it prints the correlation of the maps of the residual norm
and of BAL (FCA on residuals) between the two, the same between two seeds of whole-image training (what agreement can
be expected at best), pixel AUROC where there is a truth, and the times. Images are synthetic unless a folder is given.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blemish.backbones import Backbone, load_backbone
from blemish.evaluation.pixel_metrics import pixel_auroc
from blemish.features.filters import unit_range
from blemish.images.loading import find_images, load
from blemish.localization.fca import fca_map
from blemish.localization.reconstruction import VAE, residual_l2, train_vae, train_vae_images, vae_residual
from blemish.runtime.random import VectorReservoir
from blemish.synthetic.demo import DEMO_DEFECTS, render

Maps = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="images to use instead of synthetic ones")
    parser.add_argument("--material", default="leather", help="of the synthetic images")
    parser.add_argument("--backbone", default="embedded", help="embedded, or resnet18, resnet50 (development data)")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--held-out", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--images-per-batch", type=int, default=2)
    parser.add_argument("--per-image", type=int, default=256, help="vectors that an image gives to the reservoir")
    parser.add_argument("--lr", type=float, default=1e-4)
    args = parser.parse_args()

    features, truth = collect(args)
    held_out = torch.stack(features[: args.held_out])
    seen = features[args.held_out :]
    cells = seen[0][0].numel()
    reservoir = VectorReservoir(per_image=args.per_image)
    for image in seen:
        reservoir.add(image)
    sample = reservoir.vectors()
    batch = args.images_per_batch * cells
    print(f"{len(seen)} images of {tuple(seen[0].shape)}, {args.steps} steps of {batch} vectors, lr {args.lr}")
    print(f"sample: {len(sample)} of {len(seen) * cells} vectors; held out: {len(held_out)} images\n")

    runs: dict[str, tuple[Maps, float]] = {}
    # One seed gives both kinds the same initial weights; the rows of another seed show what agreement owes to that.
    for name, seed in (("whole images", 0), ("whole images, seed 1", 1), ("sampled", 0), ("sampled, seed 1", 1)):
        start = time.perf_counter()
        if name.startswith("sampled"):
            vae = train_vae(sample, steps=args.steps, batch=batch, lr=args.lr, seed=seed)
        else:
            vae = train_vae_images(
                seen, steps=args.steps, images_per_batch=args.images_per_batch, lr=args.lr, seed=seed
            )
        seconds = time.perf_counter() - start
        runs[name] = maps_of(vae, held_out), seconds
    report(runs, truth[: args.held_out] if truth is not None else None)


def collect(args: argparse.Namespace) -> tuple[list[Tensor], np.ndarray | None]:
    """Scaled features of all images and, for synthetic ones, the truth on the grid of the features."""
    backbone = backbone_of(args.backbone)
    rng = np.random.default_rng(0)
    features, truths = [], []
    if args.folder is not None:
        paths = find_images(args.folder)
        chosen = rng.permutation(len(paths))[: args.images + args.held_out]
        pictures = (load(paths[i], args.size, args.size) for i in chosen)
        return [stride_8(backbone, picture) for picture in pictures], None
    for _ in range(args.images + args.held_out):
        defect = None if rng.random() < 0.35 else str(rng.choice(DEMO_DEFECTS))
        picture, mask = render(args.material, defect, rng, args.size)
        features.append(stride_8(backbone, np.ascontiguousarray(picture.transpose(2, 0, 1))))
        part = torch.from_numpy(mask)[None, None].float()
        truths.append(torch.nn.functional.adaptive_avg_pool2d(part, features[-1].shape[1:])[0, 0].numpy() > 0.25)
    return features, np.stack(truths)


def backbone_of(name: str) -> Backbone:
    if name == "embedded":
        return load_backbone()
    from teachers import Teacher

    return Teacher(name, strides=(8,))


@torch.inference_mode()
def stride_8(backbone: Backbone, picture: np.ndarray) -> Tensor:
    """C x h x w in [0, 1] of a picture 3 x H x W or H x W x 3."""
    image = torch.from_numpy(picture)
    image = image if image.shape[0] == 3 else image.permute(2, 0, 1)
    return unit_range(backbone(image[None])[8][0].float())


def maps_of(vae: VAE, held_out: Tensor) -> Maps:
    residual = vae_residual(vae, held_out)
    return {"residual norm": residual_l2(residual).numpy(), "BAL": fca_map(residual, border=0).numpy()}


def report(runs: dict[str, tuple[Maps, float]], truth: np.ndarray | None) -> None:
    base, base_time = runs["whole images"]
    print(f"{'training':26}{'map':16}{'correlation':>12}{'lowest image':>14}{'AUROC':>8}{'time':>9}")
    for name, (maps, seconds) in runs.items():
        for kind, values in maps.items():
            whole = np.corrcoef(values.ravel(), base[kind].ravel())[0, 1]
            lowest = min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(values, base[kind], strict=True))
            score = f"{pixel_auroc(values, truth):.3f}" if truth is not None and truth.any() else "-"
            print(f"{name:26}{kind:16}{whole:12.4f}{lowest:14.4f}{score:>8}{seconds / base_time:8.2f}x")
    print(f"\n1.00x is {base_time:.1f} s; correlations are with the first row's training.")


if __name__ == "__main__":
    main()
