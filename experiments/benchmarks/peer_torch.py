"""PyTorch's side of the comparison of networks: twins of ours to the parameter, from torch, torchvision or MONAI.

Written as their users write them: `torch.nn` modules, Adam, autocast for bfloat16. Imported under the peers' interpreter
alone, so nothing here needs brainjax.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.benchmarks import child
from experiments.benchmarks.cases import CASES, Case

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_UP = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_MEAN = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}


def network(
    case: str,
    mode: str,
    steps: int,
    library: str = "torch",
    channels_last: bool = False,
    compiled: bool = False,
    autotune: bool = False,
    dtype: str = "float32",
    small: bool = False,
) -> dict[str, Any]:
    """Times one case, trained or applied, as `ours.network` does.

    Args:
        case, mode, steps, dtype, small: as there.
        library: whose network: 'torch', with torchvision's where it has one, or 'monai'.
        channels_last: parameters and input in that memory format.
        compiled: through `torch.compile`.
        autotune: `torch.backends.cudnn.benchmark`.
    """
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = autotune
    # JAX multiplies float32 in TF32 on such GPUs, and so do torch's convolutions: its matmuls may too.
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = CASES[case]
    shape = spec.small if small else spec.shape
    net = build(spec, library, shape)
    count = sum(p.numel() for p in net.parameters() if p.requires_grad)
    rng = np.random.default_rng(0)
    x = torch.as_tensor(np.moveaxis(rng.normal(size=shape).astype(np.float32), -1, 1).copy())
    if spec.pixels:
        y = torch.as_tensor(rng.integers(0, 2, (shape[0], spec.classes, *shape[1:-1]))).float()
    else:
        y = torch.as_tensor(np.eye(spec.classes)[rng.integers(0, spec.classes, shape[0])]).float()
    net, x, y = net.to(device), x.to(device), y.to(device)
    if channels_last:
        form = _FORMAT[x.ndim]
        net, x = net.to(memory_format=form), x.to(memory_format=form)
        y = y.to(memory_format=form) if spec.pixels else y
    run = torch.compile(net) if compiled else net
    net.train(mode == "train")
    half = contextlib.nullcontext()
    if dtype == "bfloat16":
        half = torch.autocast(device.type, torch.bfloat16)
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    loss = nn.BCEWithLogitsLoss() if spec.pixels else nn.CrossEntropyLoss()

    def train() -> None:
        adam.zero_grad()
        with half:
            value = loss(run(x), y)
        value.backward()
        adam.step()
        value.item()

    def infer() -> None:
        with torch.inference_mode(), half:
            run(x)
        if device.type == "cuda":
            torch.cuda.synchronize()

    found = child.timed(train if mode == "train" else infer, steps)
    facts = {"parameters": count, "units": shape[0], "unit": "examples"}
    if device.type == "cuda":
        facts["device_bytes"] = torch.cuda.max_memory_allocated()
    return {**found, **facts}


def gpu() -> dict[str, bool]:
    """Whether torch sees one."""
    return {"gpu": torch.cuda.is_available()}


def build(spec: Case, library: str, shape: Sequence[int]) -> nn.Module:
    """The twin of a case's network for inputs of [B *spatial C] `shape`."""
    rank, channels, fields = len(shape) - 2, shape[-1], spec.fields
    if library == "monai":
        from monai.networks.nets import BasicUNet

        features = (*fields["features"], fields["features"][0])
        return BasicUNet(rank, channels, spec.classes, features)
    if not spec.pixels:
        return _classifier(spec)
    if spec.model == "ResidualEncoderUNet":
        return ResidualEncoderUNet(rank, channels, **fields)
    if spec.model == "ResNetUNet":
        return ResNetUNet(fields)
    if spec.model == "TransUNet":
        grid = [n // 2 ** (len(fields["features"]) - 1) for n in shape[1:-1]]
        return TransUNet(channels, fields, grid)
    return UNet(rank, channels, **fields)


def _classifier(spec: Case) -> nn.Module:
    from torchvision import models

    if spec.model == "VGG":
        # torchvision's classifier is the published one, of 4096 units; ours here is global average and one layer.
        body, width = models.vgg16().features, 512
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, spec.classes))
        return nn.Sequential(body, *head)
    make = {"MobileNetV2": models.mobilenet_v2, "EfficientNet": models.efficientnet_b0}
    return make[spec.model](num_classes=spec.classes)


class Block(nn.Sequential):
    """Convolution, norm, activation."""

    def __init__(self, rank, inputs, features, norm, act, size=3, stride=1, bias=True):
        pad = size // 2
        conv = _CONV[rank](inputs, features, size, stride, pad, bias=bias)
        super().__init__(conv, _norm(rank, norm, features), _act(act))


def _norm(rank: int, name: str, features: int) -> nn.Module:
    if name == "instance":
        return _INSTANCE[rank](features, affine=True)
    return _BATCH[rank](features)


def _act(name: str) -> nn.Module:
    return nn.LeakyReLU(0.01, inplace=True) if name == "leaky_relu" else nn.ReLU(inplace=True)


class Floor(nn.Sequential):
    """Blocks after one another."""

    def __init__(self, rank, inputs, features, convs, norm, act, bias=True):
        widths = [inputs, *[features] * convs]
        blocks = (
            Block(rank, a, b, norm, act, bias=bias)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        super().__init__(*blocks)


class Decoder(nn.Module):
    """The way up: upsample, join the skip, convolve; skips finest first, None where a floor has none."""

    def __init__(self, rank, inputs, skips, features, convs, upsample, norm, act, bias=True):
        super().__init__()
        self.ups, self.floors = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(len(skips))):
            width = features[i]
            if upsample == "linear":
                mode = {2: "bilinear", 3: "trilinear"}[rank]
                up, risen = nn.Upsample(scale_factor=2, mode=mode), inputs
            else:
                up, risen = _UP[rank](inputs, width, 2, 2), width
                if upsample == "transpose":
                    up = nn.Sequential(up, _norm(rank, norm, width), _act(act))
            self.ups.append(up)
            joined = risen + (skips[i] or 0)
            self.floors.append(Floor(rank, joined, width, convs, norm, act, bias))
            inputs = width

    def forward(self, x, skips):
        """Climbs from x with skips, finest first."""
        for up, floor, skip in zip(self.ups, self.floors, reversed(skips), strict=True):
            x = up(x)
            x = floor(x if skip is None else torch.cat([x, skip], 1))
        return x


class UNet(nn.Module):
    """`brainjax.models.UNet` with two convolutions a floor."""

    def __init__(
        self,
        rank,
        channels,
        num_classes,
        features,
        out_kernel,
        norm="batch",
        activation="relu",
        upsample="transpose",
    ):
        super().__init__()
        widths = [channels, *features]
        self.downs = nn.ModuleList(
            Floor(rank, a, b, 2, norm, activation)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.pool = _POOL[rank](2)
        how = (2, upsample, norm, activation)
        self.decoder = Decoder(rank, features[-1], features[:-1], features, *how)
        self.head = _CONV[rank](features[0], num_classes, out_kernel, padding=out_kernel // 2)

    def forward(self, x):
        """[B C *spatial] -> [B K *spatial]."""
        skips = []
        for i, down in enumerate(self.downs):
            x = down(self.pool(x) if i else x)
            skips.append(x)
        return self.head(self.decoder(x, skips[:-1]))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut that averages and mixes as ours does."""

    def __init__(self, rank, inputs, features, stride):
        super().__init__()
        self.first = Block(rank, inputs, features, "instance", "leaky_relu", stride=stride)
        self.second = nn.Sequential(
            _CONV[rank](features, features, 3, padding=1), _norm(rank, "instance", features)
        )
        parts = [_MEAN[rank](stride)] if stride > 1 else []
        if inputs != features:
            parts += [_CONV[rank](inputs, features, 1), _norm(rank, "instance", features)]
        self.shortcut = nn.Sequential(*parts)
        self.act = _act("leaky_relu")

    def forward(self, x):
        """[B C *spatial] -> [B F *(spatial / stride)]."""
        return self.act(self.second(self.first(x)) + self.shortcut(x))


class ResidualEncoderUNet(nn.Module):
    """`brainjax.models.ResidualEncoderUNet` with one convolution a floor on the way up."""

    def __init__(self, rank, channels, num_classes, features, blocks, strides):
        super().__init__()
        how = ("instance", "leaky_relu")
        self.stem = Block(rank, channels, features[0], *how)
        self.stages, inputs = nn.ModuleList(), features[0]
        for width, count, stride in zip(features, blocks, strides, strict=True):
            parts = [ResidualBlock(rank, inputs, width, stride)]
            parts += [ResidualBlock(rank, width, width, 1) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*parts))
            inputs = width
        self.decoder = Decoder(
            rank, features[-1], features[:-1], features, 1, "transpose_only", *how
        )
        self.head = _CONV[rank](features[0], num_classes, 1)

    def forward(self, x):
        """[B C *spatial] -> [B K *spatial]."""
        x, skips = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return self.head(self.decoder(x, skips[:-1]))


class ResNetUNet(nn.Module):
    """`brainjax.models.ResNetUNet` on torchvision's ResNet-50."""

    def __init__(self, fields):
        from torchvision.models import resnet50

        super().__init__()
        body = resnet50()
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu)
        self.pool = body.maxpool
        self.stages = nn.ModuleList([body.layer1, body.layer2, body.layer3, body.layer4])
        features, how = fields["features"], ("batch", "relu")
        self.full = Floor(2, 3, features[0], 1, *how)
        skips = (features[0], 64, 256, 512, 1024)
        self.decoder = Decoder(2, 2048, skips, features, 2, "transpose", *how)
        self.head = nn.Conv2d(features[0], fields["num_classes"], 1)

    def forward(self, x):
        """[B 3 H W] -> [B K H W]."""
        pyramid = [self.full(x), self.stem(x)]
        y = self.pool(pyramid[-1])
        for stage in self.stages:
            y = stage(y)
            pyramid.append(y)
        return self.head(self.decoder(pyramid[-1], pyramid[:-1]))


class TransUNet(nn.Module):
    """`brainjax.models.TransUNet` with the convolutional encoder and tokens of one position."""

    def __init__(self, channels, fields, grid):
        super().__init__()
        features, width = fields["features"], fields["width"]
        widths, how = [channels, *features], ("batch", "relu")
        self.downs = nn.ModuleList(
            Floor(2, a, b, 2, *how, bias=False)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.patches = nn.Conv2d(features[-1], width, fields["patch"], fields["patch"])
        self.position = nn.Parameter(torch.zeros(1, grid[0] * grid[1], width))
        layer = nn.TransformerEncoderLayer(
            width,
            fields["heads"],
            4 * width,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, fields["depth"], nn.LayerNorm(width, 1e-6), enable_nested_tensor=False
        )
        self.bridge = Block(2, width, features[-1], *how, bias=False)
        self.decoder = Decoder(
            2, features[-1], features[:-1], features[:-1], 2, "linear", *how, bias=False
        )
        self.head = nn.Conv2d(features[0], fields["num_classes"], 3, padding=1)

    def forward(self, x):
        """[B C H W] -> [B K H W]."""
        skips = []
        for i, down in enumerate(self.downs):
            x = down(self.pool(x) if i else x)
            skips.append(x)
        x = self.patches(x)
        tokens = self.transformer(x.flatten(2).transpose(1, 2) + self.position)
        x = self.bridge(tokens.transpose(1, 2).reshape(x.shape))
        return self.head(self.decoder(x, skips[:-1]))
