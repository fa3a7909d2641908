"""The data of the report: every number of the page, as ``report.json`` holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "blemish.report"
SCHEMA_VERSION = 1


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class RegionRow(_Data):
    """One anomalous region of an image.

    Attributes:
        box: left, top, width and height in pixels of the image.
        label: its type among the groups of the run; -1 is unlike every type.
        area: share of the image, 0..1.
        crop: file of the picture of the region; None if there is none.
        crop_box: left, top, width and height of that picture in pixels of the image.
    """

    box: tuple[int, int, int, int]
    label: int
    score: float
    area: float
    elongation: float
    confidence: float | None = None
    crop: str | None = None
    crop_box: tuple[int, int, int, int] | None = None


class Look(_Data):
    """What the anomalous pixels of one image look like, measured at the size of the thumbnail.

    Attributes:
        area: share of the image that lies in anomalous regions, 0..1.
        regions: number of regions with at least a tenth of that area.
        elongation: long axis over short axis of the largest region, >= 1.
        border: whether a region touches the border of the image.
        lightness: CIELAB lightness of the regions minus that of a rim around them, -100..100; None without a photograph.
        mixed: whether the regions have clearly darker as well as clearly brighter parts than the rim, such as a hole with
            a bright edge; None without a photograph.
        color: distance between regions and rim in CIELAB's plane of colors, lightness aside; None without a photograph.
    """

    area: float
    regions: int
    elongation: float
    border: bool
    lightness: float | None = None
    mixed: bool | None = None
    color: float | None = None


class ImageRow(_Data):
    r"""One image, in the order of the result.

    Attributes:
        path: identifies the image, as in ``images.parquet``: bytes that are not Unicode are written ``\udcNN``.
        shown: the path as printable text, if that is another one.
        odd: whether the path has bytes that are not Unicode.
        label: group of the run: -2 is unsorted (anomalous, but of no type), -1 unlike every type.
        other_label: group in the other view; None if that was not computed.
        leaf: leaf of the tree; None for images of no type.
        nearest: row of the most similar image that is of a type, for images of no type.
        needs_check: whether a person should look at it, because the evidence is divided.
        probability: probability that the image is anomalous; None if it is not known.
        type_probability: probability of its group; None if it is not known.
        photo, heat: files of the thumbnails; None if the photograph could not be read again.
        width, height: of the image in pixels; ``thumb_width`` and ``thumb_height`` are those of the thumbnail.
        outline: SVG path around the regions in pixels of the thumbnail; None where nothing is outlined.
        overlay, mask: files of the run, relative to the page; None if they were not written.
        pca, tsne: place in the two scatter plots.
    """

    path: str
    shown: str | None = None
    odd: bool = False
    label: int
    other_label: int | None = None
    leaf: int | None = None
    nearest: int | None = None
    score: float
    anomalous: bool
    needs_check: bool
    probability: float | None = None
    type_probability: float | None = None
    distance: float
    width: int
    height: int
    thumb_width: int
    thumb_height: int
    photo: str | None = None
    heat: str | None = None
    overlay: str | None = None
    mask: str | None = None
    outline: str | None = None
    look: Look | None = None
    regions: list[RegionRow] = []
    pca: tuple[float, float]
    tsne: tuple[float, float]


class MeanMap(_Data):
    """Mean of the anomaly maps of a group, stretched to a square.

    Attributes:
        side: rows and columns.
        values: base64 of side x side bytes, row by row: 0 is the dark and 255 the bright end of the heat colors.
    """

    side: int
    values: str


class Group(_Data):
    """One group of the run.

    Attributes:
        label: its number in ``images.label``.
        name: ``normal``, ``type 1``, ... or the name that a person gave.
        share: images of the group as a share of all images, 0..1.
        look: medians over its images that have anomalous regions (``border`` is true for at least half of them).
        separation: mean simplified silhouette of its images among the types, -1..1; None with fewer than two types.
        closest: label of the type that its images are closest to otherwise; None with fewer than two types.
        confidence: median probability of the type; None if it is not known.
        typical: row of the image nearest to the center of the group; None for an empty group.
    """

    label: int
    name: str
    normal: bool
    count: int
    share: float
    median_score: float
    look: Look | None = None
    separation: float | None = None
    closest: int | None = None
    confidence: float | None = None
    typical: int | None = None
    mean_map: MeanMap


class OtherView(_Data):
    """The groups in the other view: of whole images if the run grouped by local defects, and the reverse."""

    view: Literal["defect", "image"]
    normal_label: int | None = None
    mean_maps: list[MeanMap]


class Merge(_Data):
    """Two nodes that become one; merge number m makes node ``leaves + m``.

    Attributes:
        a, b: the nodes; leaves are 0, 1, ...
        height: Ward's height.
    """

    a: int
    b: int
    height: float


class Tree(_Data):
    """Top of Ward's tree of the descriptors of all images that are of a type.

    Attributes:
        leaves: number of images per leaf; at most 20 leaves, in an order in which no branches cross.
        merges: by rising height.
        gains: entry k - 2 says how much better k types explain the images than k - 1 types do, compared with the same in
            null samples without types; :class:`blemish.clustering.n_clusters.Gaps` has the definition.
        deviations: standard deviation of each gain over the null samples.
        estimate: number of types that these gains suggest.
        mean_maps: one per leaf.
        sampled: number of images the tree was made from; the others joined the leaf of the most similar one.
    """

    leaves: list[int]
    merges: list[Merge]
    gains: list[float]
    deviations: list[float]
    estimate: int
    mean_maps: list[MeanMap]
    sampled: int


class Histogram(_Data):
    """Number of images per bin of the scores; ``edges`` has one entry more than the counts."""

    edges: list[float]
    normal: list[int]
    anomalous: list[int]


class Section(_Data):
    """A titled list of settings."""

    title: str
    items: list[tuple[str, str]]


class SkippedFile(_Data):
    """A file that could not be read."""

    path: str
    reason: str


class ReportData(_Data):
    """Everything that the page shows.

    ``ReportData.model_validate_json(data.model_dump_json())`` gives equal data back.

    Attributes:
        run_id: digest of paths, scores and groups: corrections that a browser keeps belong to this run.
        threshold: images with a higher score are anomalous; None if there is none.
        scale: map values at the dark and at the bright end of the heat colors, for all images.
        warnings: on the threshold, the number of groups, drift, and how the images were used.
        types: number of types that have images.
        unsorted: number of anomalous images that are of no type.
        needs_check: number of images that a person should look at.
        groups: the groups of the run by label, then those with negative numbers.
        projected: number of images that t-SNE placed; the others lie near the images that are most like them.
        not_drawn: photographs that could not be read again.
    """

    schema_name: str = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    schema_version: int = SCHEMA_VERSION
    run_id: str
    title: str
    source: str | None = None
    view: Literal["defect", "image"]
    view_reason: str | None = None
    n_clusters_setting: str | None = None
    threshold: float | None = None
    warnings: list[str]
    anomalous: int
    types: int
    unsorted: int
    needs_check: int
    scale: tuple[float, float]
    normal_label: int | None = None
    groups: list[Group]
    other: OtherView | None = None
    tree: Tree | None = None
    images: list[ImageRow]
    projected: int
    histogram: Histogram
    skipped: list[SkippedFile]
    not_drawn: int
    settings: list[Section]

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """The data as JSON text in one line; values that are not known are left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
