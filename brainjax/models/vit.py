"""Vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): encoder and classifier.

`Transformer` takes features on a grid and gives features on the same grid, so that it drops into the bottom of
a U-Net; `ViT()` is ViT-B/16: 86,567,656 parameters at 1000 classes on 224 x 224 x 3.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.attend import attend
from brainjax.models.conv import Conv, Dense
from brainjax.models.layers import Dropout, check_divisible
from brainjax.types import ConfigError


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2).

    Queries, keys and values come from one matmul `qkv` [D 3D], in this order.
    """

    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B N D] -> [B N D], every token from all tokens."""
        batch, tokens, width = x.shape
        if width % self.heads:
            raise ConfigError(
                f"ViT: width {width} must divide by heads {self.heads}; change either"
            )
        qkv = Dense(3 * width, dtype=self.dtype, name="qkv")(x)
        qkv = qkv.reshape(batch, tokens, 3, self.heads, width // self.heads)
        y = attend(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])  # [B N H D/H]
        return Dense(width, dtype=self.dtype, name="out")(y.reshape(x.shape))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Attributes:
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over D.
        dropout: rate after attention and after either layer of the MLP.
        dtype: compute dtype; parameters stay float32.
        axis_name: mapped axis that divides the batch.
    """

    heads: int
    mlp_ratio: int = 4
    dropout: float = 0.0
    dtype: str = "float32"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B N D] -> [B N D]."""

        def norm(x: jax.Array, name: str) -> jax.Array:
            return nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name=name)(x)

        def drop(x: jax.Array) -> jax.Array:
            return Dropout(self.dropout, self.axis_name)(x, train=train)

        width = x.shape[-1]
        y = SelfAttention(self.heads, self.dtype, name="attention")(norm(x, "norm1"))
        x = x + drop(y)
        y = Dense(self.mlp_ratio * width, dtype=self.dtype, name="mlp1")(norm(x, "norm2"))
        y = drop(nn.gelu(y, approximate=False))
        return x + drop(Dense(width, dtype=self.dtype, name="mlp2")(y))


class Transformer(nn.Module):
    """Transformer encoder over a grid: patches to tokens, learned positions, blocks, norm.

    The parameter `position` [*grid D] takes the shape of the token grid that the module was initialised on. Applied to
    an input of another size, it is interpolated linearly to the grid at hand (as in Dosovitskiy et al. 2021, section
    3.2); nothing has to be initialised again.

    Attributes:
        width: D.
        depth: blocks.
        heads: attention heads; must divide D.
        mlp_ratio: hidden width of the MLP over D.
        patch: edge of a token in positions of the input, the same on every axis.
        class_token: prepends a learned token, which reads the whole grid.
        dropout: rate after the position embedding, attention and the MLP's layers.
        dtype: compute dtype; parameters stay float32.
        remat: recompute each block in the backward pass, to save memory.
        axis_name: mapped axis that divides the batch.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    patch: int = 16
    class_token: bool = False
    dropout: float = 0.0
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array | None]:
        """Encodes x: [B *spatial C].

        Returns:
            ([B *(spatial / patch) D], [B D] of the class token or None).

        Raises:
            ConfigError: a size does not divide by `patch`, or D not by `heads`.
        """
        check_divisible(x, self.patch, "ViT")
        init = nn.initializers
        x = Conv(
            self.width,
            self.patch,
            self.patch,
            "VALID",
            dtype=self.dtype,
            kernel_init=init.lecun_normal(),
            name="patches",
        )(x)
        grid = x.shape[1:-1]
        x = x + self._position(grid)
        x = x.reshape(x.shape[0], math.prod(grid), self.width)  # [B N D]
        if self.class_token:
            token = self.param("class_token", init.zeros_init(), (self.width,), jnp.float32)
            token += self.param("class_position", init.normal(0.02), (self.width,), jnp.float32)
            first = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([first, x], axis=1)
        x = Dropout(self.dropout, self.axis_name)(x, train=train)

        def block(module: nn.Module, x: jax.Array, name: str) -> jax.Array:
            layer = TransformerBlock(
                self.heads, self.mlp_ratio, self.dropout, self.dtype, self.axis_name, name=name
            )
            return layer(x, train=train)

        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        for i in range(self.depth):
            x = block(self, x, f"block{i}")
        x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        token = x[:, 0] if self.class_token else None
        return x[:, int(self.class_token) :].reshape(x.shape[0], *grid, self.width), token

    def _position(self, grid: tuple[int, ...]) -> jax.Array:
        shape = (*grid, self.width)
        if not self.has_variable("params", "position"):
            position = self.param("position", nn.initializers.normal(0.02), shape, jnp.float32)
        else:
            # `self.param` would refuse a stored shape that is not today's.
            position = self.get_variable("params", "position")
            if position.shape != shape:
                position = jax.image.resize(position, shape, method="linear", antialias=False)
        return position.astype(self.dtype)


class ViT(nn.Module):
    """ViT classifier: `Transformer` with a class token, one dense layer. The default is ViT-B/16.

    Attributes:
        num_classes: logits K.
        width, depth, heads, mlp_ratio, patch, dropout, dtype, remat, axis_name: as in `Transformer`.
        class_token: classify from a class token; otherwise from the mean over the grid.
    """

    num_classes: int = 1
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    patch: int = 16
    class_token: bool = True
    dropout: float = 0.0
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Classifies x: [B *spatial C] into logits [B K] float32."""
        encoder = Transformer(
            self.width,
            self.depth,
            self.heads,
            self.mlp_ratio,
            self.patch,
            self.class_token,
            self.dropout,
            self.dtype,
            self.remat,
            self.axis_name,
            name="encoder",
        )
        grid, token = encoder(x, train=train)
        if token is None:
            token = grid.astype(jnp.float32).mean(tuple(range(1, grid.ndim - 1)))
        return nn.Dense(self.num_classes, name="head")(token.astype(jnp.float32))
