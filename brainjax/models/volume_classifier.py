"""A classifier of whole volumes: nnU-Net's residual encoder, global average pooling, a dense head.

The encoder is that of `ResidualEncoderUNet` (Isensee et al. 2024, arXiv:2404.09556) and its parameters have the same
names, `stem` and `stage{i}_block{j}`: with equal `features`, `blocks`, `strides` and norm, one trained to segment can
be moved over.
"""

import flax.linen as nn
import jax

from brainjax.models.heads import head_of
from brainjax.models.layers import ConvNormAct, check_divisible
from brainjax.models.residual_encoder import ResidualBlock
from brainjax.types import ConfigError


class VolumeClassifier(nn.Module):
    """Residual encoder, global average, logits. Takes images of any rank.

    Attributes:
        num_classes: logits K.
        width: channels of the first stage; each next one has twice as many, up to `most`.
        most: channels of a stage at most.
        blocks: residual blocks of each stage; every stage after the first halves the grid.
        stem: stride of the first convolution; 2 makes the whole network eight times as cheap on volumes.
        kernel: edge of the kernels.
        head, hidden, dropout: see `brainjax.models.heads.Head`.
        norm: 'batch', 'instance', 'group' or 'none'. Instance norm takes away what the average would see.
        activation: 'relu', 'leaky_relu', 'gelu' or 'silu'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each block in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 1
    width: int = 16
    most: int = 320
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    stem: int = 2
    kernel: int = 3
    head: str = "linear"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    norm: str = "batch"
    activation: str = "leaky_relu"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Classifies x: [B *spatial C] into logits [B K] float32.

        Raises:
            ConfigError: no stage, or an image size that does not divide by the network's total downsampling.
        """
        rank = x.ndim - 2
        if not self.blocks or min(self.blocks) < 1 or self.stem < 1:
            raise ConfigError(
                f"VolumeClassifier: blocks={tuple(self.blocks)} and stem={self.stem} must be 1 or more"
            )
        total = self.stem * 2 ** (len(self.blocks) - 1)
        check_divisible(x, (total,) * rank, "VolumeClassifier")
        common = {
            "norm": self.norm,
            "activation": self.activation,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }

        def block(module: nn.Module, x: jax.Array, stage: int, i: int) -> jax.Array:
            features = min(self.width * 2**stage, self.most)
            strides = (2 if stage and i == 0 else 1,) * rank
            name = f"stage{stage}_block{i}"
            made = ResidualBlock(features, (self.kernel,) * rank, strides, common, name=name)
            return made(x, train=train)

        if self.remat:
            block = nn.remat(block, static_argnums=(2, 3))
        x = ConvNormAct(self.width, self.kernel, self.stem, **common, name="stem")(
            x.astype(self.dtype), train=train
        )
        for stage, blocks in enumerate(self.blocks):
            for i in range(blocks):
                x = block(self, x, stage, i)
        return head_of(self)(x, train=train)
