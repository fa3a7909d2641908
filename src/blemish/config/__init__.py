"""Settings: what can be set, with its defaults, and where values come from."""

from blemish.config.fields import Section
from blemish.config.files import parse_value
from blemish.config.schema import BASIC, PAPER, Config, PresetName
from blemish.config.sources import gather, known_keys

__all__ = ["BASIC", "PAPER", "Config", "PresetName", "Section", "gather", "known_keys", "parse_value"]
