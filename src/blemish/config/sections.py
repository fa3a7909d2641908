"""The sections of the settings but for localization: one per stage, each setting with its one default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blemish.config.fields import (
    MAX_COUNT,
    MAX_IMAGES,
    MAX_PIXELS,
    MAX_SIGMA,
    MAX_WIDTH,
    Folder,
    Odd,
    Section,
    Strides,
)


class Image(Section):
    """How images are resized before feature extraction."""

    size: Literal["native"] | Annotated[int, Field(ge=32, le=4096)] = Field(
        default=384,
        description="Images are scaled to the area of a square with this side, in pixels. Larger values show smaller "
        "defects and cost time in proportion to the area. `native`: images keep their stored size, up to "
        "`image.max_megapixels`.",
    )
    upscale: bool = Field(
        default=False,
        description="Also enlarge images that are smaller than `image.size` asks for. If off, small images keep their size.",
    )
    resize: Literal["dataset", "image", "stretch"] = Field(
        default="dataset",
        description="`dataset`: one scale factor for all images, so that a defect has the same size in each. `image`: one "
        "factor per image. `stretch`: every image becomes a square, whatever its aspect ratio.",
    )
    tiling: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto`: an image with a side above `image.max_side` after scaling passes through the network in "
        "overlapping tiles, and its map is the one of the whole image. `off`: such an image is scaled down to "
        "`image.max_side`. Neither changes the resolution that `image.size` asks for otherwise.",
    )
    max_side: int = Field(
        default=2048,
        ge=32,
        le=16384,
        description="Longest side, in pixels, of what passes through the network at once. With tiles it is at least 256. "
        "Larger values need more memory.",
    )
    max_megapixels: float = Field(
        default=400,
        ge=0.01,
        le=10**5,
        description="Most megapixels that one image may have after scaling; larger images are scaled down further. Each "
        "megapixel of an image in tiles takes 10 MB of temporary files while it is worked on.",
    )
    max_megabytes: int = Field(
        default=2000,
        ge=1,
        le=10**6,
        description="Memory that one image may take once decoded, in MB; larger images are skipped and named. An image "
        "takes its stored bytes, and 12 bytes for each of up to 40 million pixels: a gray 8-bit image of 20 000 x 20 000 "
        "pixels takes 880 MB.",
    )
    white_level: Literal["auto"] | Annotated[float, Field(gt=0, le=2.0**32)] = Field(
        default="auto",
        description="Stored value that counts as white, for images of more than 8 bits and of floating point; higher "
        "values are clipped. `auto` finds one level for the set.",
    )
    borders: Literal["auto", "keep"] = Field(
        default="auto",
        description="`auto`: constant borders (whole rows or columns, or the triangles that a rotation leaves "
        "in the corners, of exactly one value with a sharp edge) and pixels with an alpha of 0 are no picture: they are "
        "neither learned nor scored. `keep`: they are part of the picture.",
    )
    roi: Folder | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Region of interest: a mask of the size of the images, or a folder with one for each image. Pixels of 0 "
        "are neither learned nor scored. `none`: the whole image.",
    )


class Backbone(Section):
    """The network that computes feature maps."""

    name: str = Field(
        default="embedded",
        min_length=1,
        max_length=512,
        description="`embedded`: the network in this package. `timm:MODEL`: a model of the extra `timm`. `random:SEED`: "
        "the embedded architecture with random weights.",
    )
    strides: Strides = Field(
        default=None,
        description="Strides of the feature maps to use; `none` means 8. Small strides show small defects and add noise.",
    )
    batch_size: int = Field(
        default=8, ge=1, le=1024, description="Images per forward pass. Larger batches need more memory."
    )
    border_padding: int = Field(
        default=32,
        ge=0,
        le=256,
        description="Width in pixels of the mirrored border that is added before the network and cropped afterwards. It "
        "includes the border that the network adds itself.",
    )
    tta_flips: bool = Field(
        default=False,
        description="Test-time augmentation: compute features of the image and of its three mirror images and average "
        "them. Feature extraction takes four times as long.",
    )


class Features(Section):
    """How feature maps are prepared before a model is fitted to them."""

    normalization: Literal["dataset", "image", "none"] = Field(
        default="dataset",
        description="Normalize each channel by its mean and standard deviation over the dataset (`dataset`), scale it to "
        "[0, 1] in each image (`image`), or leave it as it is (`none`).",
    )
    pool_size: Odd = Field(
        default=3,
        ge=1,
        le=15,
        description="Average each feature cell with its neighbors in a square window of this side, in cells; odd. 1 means "
        "no averaging. Larger windows suppress noise and blur small defects.",
    )


class Descriptor(Section):
    """One vector per image: its features, averaged where its anomaly map is high."""

    weighting: Literal["thresholded", "softmax", "average", "max"] = Field(
        default="thresholded",
        description="Pixel weights of the average. `thresholded`: how far the map exceeds a level. `softmax`: softmax of "
        "the map (published). `average`: all pixels alike. `max`: the highest pixel only.",
    )
    tau: Annotated[float, Field(ge=1e-9, le=1e9)] | None = Field(
        default=None,
        description="Temperature of the softmax in units of the map; `none` = computed from `relative_tau` (`softmax`).",
    )
    relative_tau: float = Field(
        default=0.15,
        ge=1e-6,
        le=1e6,
        description="Temperature as a fraction of the 99th percentile of the sampled maps, where `tau` is `none`.",
    )
    blur_size: Odd = Field(
        default=7, ge=1, le=31, description="Side of the kernel that blurs features before pooling, in cells; odd."
    )
    blur_sigma: float = Field(
        default=2.0, ge=0, le=MAX_SIGMA, description="Standard deviation of the blur before pooling, in cells."
    )
    whitening_shrinkage: Annotated[float, Field(ge=1e-6, le=1e6)] | None = Field(
        default=0.3,
        description="Whiten descriptors by the covariance of features within images. This value is the shrinkage towards "
        "the identity; larger values whiten less, `none` = off.",
    )
    shape_weight: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="Weight of the size and shape of the anomalous region relative to its appearance; 0 = appearance only.",
    )
    normalize: bool = Field(default=True, description="Scale descriptors to length 1 before clustering.")


class Regions(Section):
    """From maps to regions: which parts above the threshold belong together, and which are dropped.

    Lengths and areas are in cells of the map, 8 x 8 pixels of the resized image with the default strides.
    """

    join_cells: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Parts of a defect with at most this many cells between them are one region. Larger values join "
        "fragments, and also defects that lie close together.",
    )
    min_cells: float = Field(
        default=0.5,
        ge=0,
        le=10**6,
        description="Area, in cells, below which a separate piece is dropped as a sliver. The strongest region of an image "
        "is always kept.",
    )
    speck_fraction: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="A region is dropped as a speck if both its size and its excess over the threshold are below this "
        "fraction of those of the largest and of the strongest region of its image. 0 keeps all, 1 only the main ones.",
    )
    split_depth: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=0.6,
        description="Two parts of a region may be two defects if the map between them falls by this share of the lower "
        "part's excess over the threshold. They become two regions if their types differ. Smaller values try more parts; "
        "`none` splits no region.",
    )


class Contrastive(Section):
    """The contrastive heads: small networks that separate types of defects."""

    enabled: bool = Field(
        default=True, description="Train contrastive heads. If off, descriptors are clustered directly."
    )
    n_heads: int = Field(
        default=4,
        ge=1,
        le=32,
        description="Number of heads, trained from different seeds and concatenated. More heads vary less with the seed "
        "and take proportionally longer.",
    )
    head_weight: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=0.7,
        description="Weight of the heads' descriptors relative to the descriptors without heads; `none` = heads only "
        "(published).",
    )
    hidden: int = Field(default=256, ge=1, le=MAX_WIDTH, description="Width of the hidden layer.")
    dim: int = Field(default=32, ge=1, le=MAX_WIDTH, description="Width of the output.")
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Learning rate of AdamW.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Weight decay of AdamW.")
    epochs: int = Field(default=10, ge=1, le=MAX_COUNT, description="Passes over the images.")
    max_steps: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = Field(
        default=1500, description="Largest number of training steps per head, one image each; `none` = all epochs."
    )
    pixel_budget_mb: int = Field(
        default=128,
        ge=1,
        le=65536,
        description="Memory, in MiB, for the pixels that heads are trained on. In large datasets, fewer pixels per image "
        "are kept; what exceeds the budget is kept in a temporary file.",
    )
    threshold: Literal["scores", "kmeans"] = Field(
        default="scores",
        description="How the pixel threshold for training is chosen. `scores`: as many images exceed it as are anomalous. "
        "`kmeans`: from k-means on the descriptors (published).",
    )
    margin: float = Field(
        default=0.5,
        ge=0,
        le=1000,
        description="Squared distance beyond which dissimilar pixels are no longer pushed apart.",
    )
    n_anchors: int = Field(
        default=20,
        ge=1,
        le=MAX_PIXELS,
        description="Anomalous, and as many normal, pixels drawn from the image itself.",
    )
    n_positives: int = Field(
        default=50,
        ge=1,
        le=MAX_PIXELS,
        description="Anomalous, and as many normal, pixels drawn from the image and its neighbors.",
    )
    n_negatives: int = Field(
        default=50, ge=1, le=MAX_PIXELS, description="Anomalous pixels drawn from dissimilar images."
    )
    n_neighbors: int = Field(
        default=3, ge=1, le=MAX_IMAGES, description="Number of nearest images that count as neighbors."
    )
    n_negative_images: int = Field(
        default=5, ge=1, le=MAX_IMAGES, description="Number of dissimilar images drawn per step."
    )


class Cluster(Section):
    """From descriptors to groups."""

    method: Literal["consensus", "ward", "kmeans", "spectral", "gmm"] = Field(
        default="consensus",
        description="`consensus`: Ward clustering of many random subsamples, combined. `ward`: Ward linkage (published). "
        "`kmeans`, `spectral` and `gmm`: as in scikit-learn.",
    )
    group_by: Literal["auto", "defect", "image"] = Field(
        default="auto",
        description="What the groups are made of. `defect`: the local defects (published). `image`: the whole surface of "
        "an image. `auto`: whichever differs more. Both groupings are always computed and written.",
    )
    max_clusters: int = Field(
        default=12, ge=1, le=1000, description="Largest number of groups that `n_clusters = auto` considers."
    )
    score_weighting: Literal["soft", "hard", "none"] = Field(
        default="soft",
        description="How image scores affect clustering. `soft`: descriptors shrink as the image is less likely "
        "anomalous. `hard`: images below the threshold form the normal group and only the others are clustered. `none`: "
        "scores are ignored (published).",
    )
    soft_width: float = Field(
        default=0.2,
        gt=0,
        le=10,
        description="Width of the transition around a threshold without probabilities, such as one that you set, "
        "relative to it (`soft`).",
    )
    soft_floor: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Weight of a certainly normal image's descriptor; smaller if most images are normal or many are "
        "doubtful (`soft`).",
    )
    unlike: float = Field(
        default=0.03,
        ge=0,
        le=0.5,
        description="Share of the defects that a model is fitted to that would count as unlike all others. Larger values "
        "call more defects in later images unlike anything seen.",
    )


class Output(Section):
    """Which files are written."""

    maps: Literal["feature", "image", "none"] = Field(
        default="feature", description="Write anomaly maps at feature resolution, at image resolution, or not at all."
    )
    overlays: bool = Field(default=True, description="Write images with outlined defects. Masks are always written.")
    report: bool = Field(default=True, description="Write report.html and report.json.")
    report_mode: Literal["folder", "single"] = Field(
        default="folder",
        description="Where the pictures of the report are. `folder`: in report_files, of all images. `single`: in "
        "report.html, of the first 300 images, to send the page as one file.",
    )
    model: bool = Field(default=True, description="Write the fitted model, which inspects later images.")


class Cache(Section):
    """Intermediate results of earlier runs. The cache never changes a result."""

    enabled: bool = Field(
        default=True, description="Store finished stages and reuse them when nothing that they depend on has changed."
    )
    folder: Folder | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Folder of the cache; `none` = the user's cache folder.",
    )
    limit_mb: int = Field(
        default=2000,
        ge=1,
        le=10**9,
        description="Size limit in megabytes. Entries that have not been used for the longest time are removed first.",
    )
    features: bool = Field(
        default=False, description="Also store feature maps. They are large: about 1.8 MB per image at size 384."
    )
