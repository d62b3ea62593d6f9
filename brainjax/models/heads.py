"""Classification heads: pyramid tops to logits. Every classifier here takes one by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.layers import Dropout
from brainjax.types import ConfigError

HEADS = ("linear", "advanced", "dense")


class Head(nn.Module):
    """Features of an image to logits.

    Attributes:
        num_classes: logits K.
        kind: 'linear', global average and one dense layer; 'advanced', global average, then dense layers with
            one dropout after the first; 'dense', dense layers over all positions, as VGG (Simonyan & Zisserman 2015,
            arXiv:1409.1556) was published: it ties the network to one image size.
        hidden: widths of the hidden layers; empty for the kind's own: none, (512, 256, 128), (4096, 4096).
        dropout: rate. After the average ('linear'), after the first hidden layer ('advanced'), after
            every hidden layer ('dense').
        axis_name: mapped axis that divides the batch.
    """

    num_classes: int
    kind: str = "linear"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: [B *spatial D] to logits [B K] float32."""
        if self.kind not in HEADS:
            raise ConfigError(f"unknown head {self.kind!r}; choose one of {', '.join(HEADS)}")
        x = x.astype(jnp.float32)

        def drop(x: jax.Array) -> jax.Array:
            return Dropout(self.dropout, self.axis_name)(x, train=train)

        if self.kind == "dense":
            x = x.reshape(x.shape[0], -1)
        else:
            x = x.mean(tuple(range(1, x.ndim - 1)))
        if self.kind == "linear":
            x = drop(x)
        own = {"linear": (), "advanced": (512, 256, 128), "dense": (4096, 4096)}
        for i, width in enumerate(tuple(self.hidden) or own[self.kind]):
            x = nn.relu(nn.Dense(width, name=f"hidden{i + 1}")(x))
            if self.kind == "dense" or (self.kind == "advanced" and i == 0):
                x = drop(x)
        return nn.Dense(self.num_classes, name="out")(x)


def head_of(classifier: nn.Module) -> Head:
    """The head that a classifier's fields describe, named `head`; to be called inside its `__call__`."""
    return Head(
        classifier.num_classes,
        classifier.head,
        tuple(classifier.hidden),
        classifier.dropout,
        classifier.axis_name,
        name="head",
    )
