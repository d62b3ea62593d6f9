"""Configs whose fields are the signature of the thing configured.

`spec(target, **overrides)` reads a Linen module, a dataclass, an optax factory or a loss and gives a
ConfigDict with the target's name and every option that has a plain value; `build(spec, get)` calls it. There is no
second schema to keep in step: a new field of a model is a new flag `--config.model.field=`.
"""

import functools
import inspect
import json
import pathlib
import runpy
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from brainjax.lookup import nearest, split_variant
from brainjax.types import ConfigError

_PLAIN = (bool, int, float, str)
# Linen adds these two to every module's signature; they are not configuration.
_LINEN = ("parent", "name")


def options(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of `target` that a config may set, by name."""
    skip = _LINEN if _is_linen(target) else ()
    return {
        n: p
        for n, p in inspect.signature(target).parameters.items()
        if n not in skip and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _is_linen(target: Any) -> bool:
    return inspect.isclass(target) and any(
        c.__module__.startswith("flax.linen") for c in target.__mro__
    )


def _check_options(target: Callable[..., Any], fields: Mapping[str, Any]) -> None:
    known = options(target)
    for name in fields:
        if name not in known:
            raise ConfigError(f"{target.__name__} has no option {name!r}: {nearest(name, known)}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(v) for v in value)
    return isinstance(value, _PLAIN)


def spec(target: Callable[..., Any], **overrides: Any) -> ConfigDict:
    """A ConfigDict of `target`'s own options: name, defaults, overrides.

    Options without a plain default (None, arrays, callables, or no default at all) appear only where `overrides`
    sets them.

    Raises:
        ConfigError: an override is no option of the target; names the nearest.
    """
    known = options(target)
    _check_options(target, overrides)
    fields = {
        n: overrides.get(n, p.default)
        for n, p in known.items()
        if n in overrides or _is_plain(p.default)
    }
    return ConfigDict({"name": target.__name__, **fields})


def bind(
    section: Mapping[str, Any], get: Callable[[str], Callable[..., Any]]
) -> Callable[..., Any]:
    """The target that `section` names with its fields filled in, to be called later.

    Raises:
        ConfigError: no such target, or it has no such option; names the nearest.
    """
    fields = dict(section)
    target = get(fields.pop("name"))
    _check_options(target, fields)
    return functools.partial(target, **fields)


def build(section: Mapping[str, Any], get: Callable[[str], Callable[..., Any]], **more: Any) -> Any:
    """Calls the target that `section` names with its fields, and `more` beside them.

    Raises:
        ConfigError: as `bind`; or the target needs an option that is not there.
    """
    bound = bind(section, get)
    try:
        inspect.signature(bound).bind(**more)
    except TypeError as error:
        raise ConfigError(f"{section['name']}: {error}: set this option") from error
    return bound(**more)


def load(path: str) -> ConfigDict:
    """The config that `path`, 'file.py' or 'file.py:variant', gives by its `get_config`.

    Raises:
        ConfigError: no such file, or it is no config; or what its `get_config` raises.
    """
    file, variant = split_variant(path)
    if not pathlib.Path(file).is_file():
        raise ConfigError(f"--config={path}: there is no file {file}; see the folder configs/")
    found = runpy.run_path(file)
    if "get_config" not in found:
        raise ConfigError(f"--config={path}: {file} has no function get_config; see configs/")
    return found["get_config"](*variant)


def to_dict(config: ConfigDict) -> dict[str, Any]:
    """Plain nested dict, tuples as lists, ready for JSON."""
    return json.loads(json.dumps(config.to_dict()))


def from_dict(values: Mapping[str, Any]) -> ConfigDict:
    """The inverse of `to_dict`: lists become tuples again; the result is locked."""

    def thaw(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: thaw(v) for k, v in value.items()}
        if isinstance(value, list):
            return tuple(thaw(v) for v in value)
        return value

    return ConfigDict(thaw(values)).lock()


def difference(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines `key: a -> b` for every field in which two nested dicts differ."""
    lines = []
    for key in sorted(set(a) | set(b)):
        here = f"{prefix}{key}"
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            lines += difference(left, right, f"{here}.")
        elif left != right:
            lines.append(f"{here}: {left!r} -> {right!r}")
    return lines
