"""The config of an earlier run against that of today: what came since, and what may differ."""

from collections.abc import Mapping
from typing import Any

from brainjax.config import difference, spec, to_dict
from brainjax.train.recipe import targets

# A run goes on, and its result stands, under other values of these: they change where and how often, never what.
MAY_CHANGE = (
    "data.dir",
    "input.feed",
    "train.parallel",
    "train.space",
    "train.checkpoint_every",
    "train.log_every",
    "train.keep",
    "infer.batch_size",
)


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A config, or some sections of it, with the options that brainjax has got since, at their defaults.

    Args:
        stored: as `brainjax.config.to_dict` gives it.

    Raises:
        ConfigError: a section names what brainjax no longer has.
    """
    sections = {
        name: to_dict(spec(get(stored[name]["name"])))
        for name, get in targets().items()
        if name in stored
    }
    return {**stored, **{name: {**sections[name], **stored[name]} for name in sections}}


def changes(stored: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Lines `key: a -> b` for what makes `config` another run than `stored`."""
    lines = difference(completed(stored), config)
    return [line for line in lines if line.partition(":")[0] not in MAY_CHANGE]
