"""Changes of a config from a command line: `--config.model.width=96`, checked and typed.

The type of a field is that of the value it has, or what the configured thing's signature says. Nothing is
evaluated but literals.
"""

import ast
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from brainjax.config import options, spec
from brainjax.lookup import nearest
from brainjax.types import ConfigError

Targets = Mapping[str, Callable[[str], Callable[..., Any]]]

_PLAIN = (int, float, tuple, bool, types.NoneType, str)


def override(config: ConfigDict, changes: Mapping[str, str], targets: Targets) -> ConfigDict:
    """A copy of `config` with the fields changed that a command line names.

    Names come first: `loss.name=focal` on a config written for Dice gives the section focal's own defaults; what
    the config had set, such as a learning rate, carries over to an option of the same name. Options without a plain default, such as the
    momentum of optax.sgd, can be set although the config does not show them.

    Args:
        config: a config.
        changes: dotted field -> value as text.
        targets: section -> how its `name` is looked up.

    Returns:
        A new, locked config.

    Raises:
        ConfigError: no such field or name, with the nearest in the message; or a value of another type.
    """
    changed = config.copy_and_resolve_references()
    named = {k: v for k, v in changes.items() if k.endswith(".name") and k[:-5] in targets}
    with changed.unlocked():
        for key, name in named.items():
            section = key.removesuffix(".name")
            _check_field(key, section, changed)
            changed[section] = _renamed(changed[section], name, targets[section])
        for key, text in changes.items():
            if key not in named:
                _set(changed, key, text, targets)
    return changed.lock()


def _renamed(
    section: ConfigDict, name: str, get: Callable[[str], Callable[..., Any]]
) -> ConfigDict:
    """The section for a new name, with what was set for the old one and not merely its default."""
    defaults, target = spec(get(section.name)), get(name)
    known = options(target)
    kept = {
        k: v for k, v in section.items() if k in known and (k not in defaults or v != defaults[k])
    }
    return spec(target, **{k: v for k, v in kept.items() if k != "name"})


def _set(config: ConfigDict, key: str, text: str, targets: Targets) -> None:
    section, _, field = key.rpartition(".")
    holder, known = config, {}
    if section:
        _check_field(key, section, config)
        holder = config[section]
        if not isinstance(holder, ConfigDict):
            raise ConfigError(f"--config.{key}: {section} is a single value; it has no fields")
        if section in targets:
            known = options(targets[section](holder.name))
    _check_field(key, field, {*holder, *known})
    annotation = known[field].annotation if field in known else Any
    old = holder.get(field)
    if isinstance(old, ConfigDict):
        raise ConfigError(f"--config.{key} is a section; set one of its fields: {', '.join(old)}")
    with holder.ignore_type():  # checked here already, by the annotation too
        holder[field] = _parse(key, text, old, annotation)


def _check_field(key: str, field: str, known: typing.Iterable[str]) -> None:
    if field not in known:
        raise ConfigError(f"--config.{key}: no field is called {field!r}: {nearest(field, known)}")


def _parse(key: str, text: str, old: Any, annotation: Any) -> Any:
    """`text` as a value of the type of `old`, or of another that the annotation names."""
    allowed = _types(annotation)
    if old is not None:
        # Annotations of optax name every kind of number; the value says which one is meant.
        numbers = (int, float) if set(typing.get_args(annotation)) == {int, float} else ()
        wider = (tuple, types.NoneType, *numbers)
        # One number for all axes, where the annotation names it beside the tuple, stays a number.
        several = isinstance(old, tuple) and _is_union(annotation)
        single = [t for t in typing.get_args(annotation) if several and t in (int, float)]
        allowed = [*single, *numbers, type(old), *(t for t in allowed if t in wider)]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False}.get(text.lower(), text)
    for kind in allowed:
        if kind is str:
            return text
        if kind is tuple:
            value = _items(value, old, annotation)
        elif kind is float and type(value) is int:
            value = float(value)
        elif kind is bool and type(value) is int and value in (0, 1):
            value = bool(value)
        if type(value) is kind:
            return value
    names = " or ".join(t.__name__ for t in allowed) or "nothing that a command line can give"
    likely = f", such as {old!r}" if old is not None else ""
    raise ConfigError(f"--config.{key}={text} is no {names}{likely}")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _types(annotation: Any) -> list[type]:
    """The plain types that an annotation names; all of them where it says nothing."""
    parts = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if any(isinstance(p, str) or p in (Any, inspect.Parameter.empty) for p in parts):
        return list(_PLAIN)
    return [t for t in _PLAIN if t in [typing.get_origin(p) or p for p in parts]]


def _items(value: Any, old: Any, annotation: Any) -> Any:
    """`value` as a tuple with items of the old ones' type; as it is where that cannot be."""
    if isinstance(old, tuple) and not isinstance(value, tuple | list):
        value = (value,)
    if not isinstance(value, tuple | list):
        return value
    kinds = {type(v) for v in old} if isinstance(old, tuple) else set()
    parts = (annotation, *typing.get_args(annotation))
    inner = {a for t in parts if typing.get_origin(t) is tuple for a in typing.get_args(t)}
    # A size may be one number for all axes, or a tuple of one per axis: int | tuple[int, ...].
    items = {b for a in inner for b in (a, *typing.get_args(a))}
    kinds = kinds or items
    if any(typing.get_origin(a) is tuple for a in items):
        kinds = kinds | {tuple}
    if float in kinds:
        value = [float(v) if type(v) is int else v for v in value]
    kinds &= set(_PLAIN)
    return tuple(value) if all(type(v) in (kinds or _PLAIN) for v in value) else list(value)
