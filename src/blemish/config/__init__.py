"""Settings: what can be set, with its defaults, and where values come from."""

from blemish.config.fields import Section
from blemish.config.schema import BASIC, PAPER, Config, PresetName
from blemish.config.sources import gather, known_keys, parse_value

__all__ = ["BASIC", "PAPER", "Config", "PresetName", "Section", "gather", "known_keys", "parse_value"]
