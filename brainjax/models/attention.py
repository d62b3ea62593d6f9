"""Additive attention gate for skip connections (Oktay et al. 2018, arXiv:1804.03999, equations 1-2)."""

import flax.linen as nn
import jax

from brainjax.models.conv import Conv
from brainjax.models.layers import Norm, activate, resize


class AttentionGate(nn.Module):
    """Scales a skip by how much each of its positions matters to the coarser floor.

    alpha = sigmoid(psi(activation(W_x skip + W_g gate))), computed on the gate's grid, which is half as
    fine: W_x is a 2x2 stride-2 convolution, and alpha is resized to the skip's grid.

    Attributes:
        features: channels of the space in which skip and gate are compared.
        norm, activation, axis_name, dtype: as in the network that owns the gate.
    """

    features: int
    norm: str = "batch"
    activation: str = "relu"
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, skip: jax.Array, gate: jax.Array, *, train: bool) -> jax.Array:
        """Gates skip: [B *spatial C] by gate: [B *(spatial / factor) D]; returns the shape of `skip`."""
        factor = skip.shape[1] // gate.shape[1]
        theta = Conv(self.features, factor, factor, use_bias=False, dtype=self.dtype, name="skip")
        phi = Conv(self.features, 1, dtype=self.dtype, name="gate")
        both = activate(theta(skip) + phi(gate), self.activation)
        score = Conv(1, 1, dtype=self.dtype, name="psi")(both)
        alpha = resize(nn.sigmoid(score), skip.shape[1:-1])
        out = Conv(skip.shape[-1], 1, dtype=self.dtype, name="out")(skip * alpha)
        return Norm(self.norm, self.axis_name, dtype=self.dtype, name="norm")(out, train=train)
