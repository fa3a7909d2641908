"""One set of images on several machines: each inspects a part with the same model, and the results are merged."""

from blemish.distributed.merging import merge_shards
from blemish.distributed.shards import Shard

__all__ = ["Shard", "merge_shards"]
