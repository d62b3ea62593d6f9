"""Loss, optimizer and schedule as data, so that one compiled step trains trials that differ in them.

What a group of trials has in common is compiled in; what it chooses from becomes branches of a `lax.switch`; numbers
that vary, such as a learning rate, and schedules, as tables over the steps, become arguments.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from brainjax import optim


@dataclasses.dataclass(frozen=True)
class Wish:
    """What one trial wants.

    Attributes:
        loss: f(logits, target) -> [B].
        loss_section, optimizer_section: of its config, as plain dicts; they tell what is the same.
        schedule: step -> multiplier.
    """

    loss: Callable[[jax.Array, jax.Array], jax.Array]
    loss_section: Mapping[str, Any]
    optimizer_section: Mapping[str, Any]
    schedule: optim.Schedule


@dataclasses.dataclass(frozen=True)
class Family:
    """Optimizers that one traced program covers.

    Attributes:
        name: of the optax factory.
        fixed: options that are the same in all of them, or that decide what is computed.
        free: options that are arguments of the program, each with a value for trials of other families.
    """

    name: str
    fixed: Mapping[str, Any]
    free: Mapping[str, float]

    def build(self, values: Mapping[str, Any]) -> optax.GradientTransformation:
        """The optimizer for these values of `free`, traced or not."""
        return optim.bare(self.name, {**self.fixed, **values})


class Choices:
    """All that the trials of a group choose from.

    Attributes:
        losses: the different losses.
        families: the different optimizers.
        steps: length of a run.
        clip_norm: as in `optim.make`; the same for all.
    """

    def __init__(self, wishes: Sequence[Wish], *, steps: int, clip_norm: float):
        """Sorts out what is the same, what differs in numbers, and what is another computation."""
        self.steps, self.clip_norm = steps, clip_norm
        losses = {_text(w.loss_section): w.loss for w in wishes}
        self._loss_index = {key: i for i, key in enumerate(losses)}
        self.losses = tuple(losses.values())
        self.families = tuple(_families([w.optimizer_section for w in wishes]))

    @property
    def key(self) -> str:
        """Tells programs apart: the same text, the same optimizer state."""
        return _text([list(self._loss_index), list(map(dataclasses.asdict, self.families))])

    def encode(self, wish: Wish) -> dict[str, Any]:
        """One trial's choice as arrays; those of several trials stack."""
        section = wish.optimizer_section
        index = next(i for i, f in enumerate(self.families) if _covers(f, section))
        free = [dict(f.free) for f in self.families]
        free[index] = {name: section[name] for name in free[index]}
        # Under jit, so that it is computed as in a step.
        table = jax.jit(jax.vmap(lambda s: jnp.float32(wish.schedule(s))))(jnp.arange(self.steps))
        return {
            "loss": np.int32(self._loss_index[_text(wish.loss_section)]),
            "optimizer": np.int32(index),
            "free": [{k: np.float32(v) for k, v in values.items()} for values in free],
            "schedule": np.asarray(table, np.float32),
        }

    def loss(self, choice: Mapping[str, Any], logits: jax.Array, target: jax.Array) -> jax.Array:
        """The chosen loss, [B]."""

        def branch(i: int) -> Callable[..., jax.Array]:
            def value(logits: jax.Array, target: jax.Array) -> jax.Array:
                # Under vmap every branch is computed. One that is not chosen sees zeros, so that no
                # overflow of its own can reach the gradient as 0 x inf.
                mine = choice["loss"] == i
                return self.losses[i](jnp.where(mine, logits, 0), target).astype(jnp.float32)

            return value

        return _switch(choice["loss"], [branch(i) for i in range(len(self.losses))], logits, target)

    def optimizer(self, choice: Mapping[str, Any]) -> optax.GradientTransformation:
        """The chosen optimizer with clipping and schedule, as `optim.make` builds it.

        Its state has room for that of any family, and holds the chosen one's.
        """
        built = [f.build(free) for f, free in zip(self.families, choice["free"], strict=True)]

        def init(params: Any) -> list[jax.Array]:
            slots = _Slots([jax.eval_shape(tx.init, params) for tx in built])
            branches = [
                lambda params, i=i, tx=tx: slots.put(i, tx.init(params), slots.empty())
                for i, tx in enumerate(built)
            ]
            return _switch(choice["optimizer"], branches, params)

        def update(grads: Any, state: list[jax.Array], params: Any) -> tuple[Any, list[jax.Array]]:
            slots = _Slots([jax.eval_shape(tx.init, params) for tx in built])

            def branch(i: int, tx: optax.GradientTransformation) -> Callable[..., Any]:
                def updated(grads: Any, state: list[jax.Array], params: Any) -> Any:
                    moves, new = tx.update(grads, slots.take(i, state), params)
                    moves = jax.tree.map(lambda m, p: jnp.asarray(m, p.dtype), moves, params)
                    return moves, slots.put(i, new, state)

                return updated

            branches = [branch(i, tx) for i, tx in enumerate(built)]
            return _switch(choice["optimizer"], branches, grads, state, params)

        return optim.surround(
            optax.GradientTransformation(init, update),
            lambda step: choice["schedule"][step],
            clip_norm=self.clip_norm,
        )


class _Slots:
    """Room for the state of any one of several optimizers, shared between them.

    A momentum of one lies where another keeps its first moment, so that a choice between adam and sgd takes no
    more memory than adam.
    """

    def __init__(self, states: Sequence[Any]):
        """From the shapes of each optimizer's state."""
        self.shapes: list[jax.ShapeDtypeStruct] = []
        self.trees = [jax.tree.structure(state) for state in states]
        self.places: list[list[int]] = []
        for state in states:
            mine: list[int] = []
            for leaf in jax.tree.leaves(state):
                free = (
                    i
                    for i, s in enumerate(self.shapes)
                    if i not in mine and (s.shape, s.dtype) == (leaf.shape, leaf.dtype)
                )
                place = next(free, len(self.shapes))
                if place == len(self.shapes):
                    self.shapes.append(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
                mine.append(place)
            self.places.append(mine)

    def empty(self) -> list[jax.Array]:
        return [jnp.zeros(s.shape, s.dtype) for s in self.shapes]

    def take(self, i: int, slots: Sequence[jax.Array]) -> Any:
        return jax.tree.unflatten(self.trees[i], [slots[place] for place in self.places[i]])

    def put(self, i: int, state: Any, slots: Sequence[jax.Array]) -> list[jax.Array]:
        slots = list(slots)
        for place, leaf in zip(self.places[i], jax.tree.leaves(state), strict=True):
            slots[place] = jnp.asarray(leaf, self.shapes[place].dtype)
        return slots


def _switch(index: jax.Array, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    if len(branches) == 1:
        return branches[0](*operands)
    return lax.switch(index, branches, *operands)


def _families(sections: Sequence[Mapping[str, Any]]) -> list[Family]:
    """The families that cover all sections; what does not vary between them stays a constant of the program."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for section in sections:
        kind = {k: v if not isinstance(v, float) else "number" for k, v in section.items()}
        kinds.setdefault(_text(kind), []).append(section)
    found: dict[str, Family] = {}
    for kind in kinds.values():
        vary = [k for k, v in kind[0].items() if any(other[k] != v for other in kind)]
        free = [k for k in vary if _traceable(kind[0], k)]
        for section in kind:
            fixed = {k: v for k, v in section.items() if k not in free and k != "name"}
            family = Family(section["name"], fixed, {k: kind[0][k] for k in free})
            found.setdefault(_text(dataclasses.asdict(family)), family)
    return list(found.values())


def _covers(family: Family, section: Mapping[str, Any]) -> bool:
    own = {"name": family.name, **family.fixed, **{k: section.get(k) for k in family.free}}
    return _text(own) == _text(section)


def _traceable(section: Mapping[str, Any], option: str) -> bool:
    """Whether this optimizer can be built with an argument of the program for `option`.

    Some ask in Python whether a number is 0; each of its values is then a family of its own.
    """
    options = {k: v for k, v in section.items() if k != "name"}
    params = {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32)}

    def once(params: Any, value: jax.Array) -> Any:
        tx = optim.bare(section["name"], {**options, option: value})
        return tx.update(params, tx.init(params), params)

    try:
        jax.eval_shape(once, params, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, ValueError):  # jax's errors about traced values are TypeErrors
        return False
    return True


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
