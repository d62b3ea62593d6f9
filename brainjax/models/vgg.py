"""VGG (Simonyan & Zisserman 2015, arXiv:1409.1556): 3x3 convolutions and max-pooling, for 2D and 3D.

`VGG(num_classes=1000, head="dense")` is VGG-16 as published, 138,357,544 parameters at 224 x 224 x 3. Convolutions are
named `block{i}_conv{j}`, both counted from 1, as in Keras.
"""

import flax.linen as nn
import jax

from brainjax.models.conv import Conv
from brainjax.models.heads import head_of
from brainjax.models.layers import check_divisible, max_pool


class VGGEncoder(nn.Module):
    """The convolutions of a VGG: [B *spatial C] -> [B *(spatial / 2^blocks) features].

    Attributes:
        convs: convolutions of each block; (2, 2, 3, 3, 3) is VGG-16, (2, 2, 4, 4, 4) VGG-19.
        width: channels of the first block; doubled by each of the next, up to eightfold.
        dtype: compute dtype; parameters stay float32.
        remat: recompute each block in the backward pass, to save memory.
    """

    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    width: int = 64
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Encodes x: [B *spatial C]; every spatial size divides by 2^len(convs)."""
        check_divisible(x, 2 ** len(self.convs), "VGG")

        def block(module: nn.Module, x: jax.Array, i: int) -> jax.Array:
            for j in range(self.convs[i]):
                features = self.width * min(2**i, 8)
                name = f"block{i + 1}_conv{j + 1}"
                x = nn.relu(Conv(features, 3, padding=1, dtype=self.dtype, name=name)(x))
            return max_pool(x)

        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        for i in range(len(self.convs)):
            x = block(self, x, i)
        return x


class VGG(nn.Module):
    """VGG classifier. The default is VGG-16's convolutions with a linear head.

    Attributes:
        num_classes: logits K.
        head, hidden, dropout: see `Head`.
        convs, width, dtype, remat: as in `VGGEncoder`, whose parameters are under `encoder`.
        axis_name: mapped axis that divides the batch.
    """

    num_classes: int = 1
    head: str = "linear"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    width: int = 64
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Classifies x: [B *spatial C] into logits [B K] float32."""
        encoder = VGGEncoder(tuple(self.convs), self.width, self.dtype, self.remat, name="encoder")
        return head_of(self)(encoder(x), train=train)
