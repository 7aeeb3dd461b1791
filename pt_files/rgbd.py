"""Twin of `models/rgbd.py`: two backbones for faces in colour and depth, and five ways of joining them."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_hierarchy.models import rgbd_settings as rgbd
from fer_hierarchy.pt_files.layers import (
    BatchNorm,
    DepthImage,
    GlobalAverage,
    convolution,
    dense,
    start_glorot,
    start_he_normal,
)
from fer_hierarchy.pt_files.transformer import ClassTokenAndPositions, TransformerBlock, layer_norm

_BN_MOMENTUM = 0.9
_SQUEEZE_RATIO = 8
_DEVIATION = 0.05

_Parts = dict[str, Tensor]  # rgb, depth or rgbd -> features (batch, width) or map (batch, channels, height, width)


class BranchDropout(nn.Module):
    """Twin of `models.layers.BranchDropout`: while training, drops what one of two backbones says of a face.

    Args:
        rate: Probability that the first is dropped, and that the second is, in [0, 0.5].
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Drop whole rows of a batch, never the same row of both."""
        if not self.training or not self.rate:
            return first, second
        draw = torch.rand(len(first), device=first.device)
        return _kept(first, draw >= self.rate), _kept(second, draw < 1 - self.rate)


def _kept(x: Tensor, rows: Tensor) -> Tensor:
    return x * rows.to(x.dtype).reshape(-1, *(1 for _ in x.shape[1:]))


class RgbdClassifier(nn.Module):
    """What `rgbd_fusion` returns.

    Takes float32 planes (batch, planes, height, width), the last one depth in twentieths of a millimetre, 0 in holes;
    gives float32 logits (batch, classes).

    Args:
        layers: Name -> layer, by Keras's names. Those called rgb, depth or rgbd are backbones.
        join: Makes features of what the backbones say.
        depth_planes: How many planes of the depth image the backbone of early fusion sees.
    """

    def __init__(
        self, layers: dict[str, nn.Module], *, join: Callable[[nn.ModuleDict, _Parts], Tensor], depth_planes: int
    ):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.join = join
        self.depth_planes = depth_planes

    def features(self, pixels: Tensor) -> Tensor:
        """What goes into `predictions`: float32 (batch, width)."""
        parts = {name: self.layers[name](image) for name, image in self._images(pixels).items()}
        if len(parts) == 2:
            parts = dict(zip(parts, self.layers["branch_dropout"](*parts.values()), strict=True))
        return self.layers["dropout"](self.join(self.layers, parts))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (batch, classes)."""
        return self.layers["predictions"](self.features(pixels))

    def _images(self, pixels: Tensor) -> _Parts:
        """What each backbone sees."""
        images = {"rgb": pixels[:, :-1]}
        if "depth_image" in self.layers:
            images["depth"] = self.layers["depth_image"](pixels[:, -1:])
        if "rgbd" in self.layers:
            images["rgbd"] = torch.cat([images["rgb"], images["depth"][:, : self.depth_planes]], dim=1)
        return {name: image for name, image in images.items() if name in self.layers}


def rgbd_fusion(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    backbone: str = "compact_resnet",
    depth_backbone: str | None = None,
    fusion: str = "late",
    modality: str = "rgbd",
    depth: str = "normals",
    modules: int = 4,
    dim: int = 128,
    blocks: int = 2,
    heads: int = 4,
    mlp_dim: int = 256,
    dropout: float = 0.2,
    branch_dropout: float = 0.25,
    token_dropout: float = 0.1,
) -> RgbdClassifier:
    """Build the network; the keywords are those of `models.rgbd.rgbd_fusion`, all but the weights.

    A backbone may also be one of timm, `timm/resnet18` or `timm/resnet18/weights=imagenet`, for features only: it has
    no map for "attention".

    Raises:
        ValueError: A keyword has a value that makes no network.
    """
    tokens = {"modules": modules, "dim": dim, "blocks": blocks, "heads": heads, "mlp_dim": mlp_dim}
    tokens["token_dropout"] = token_dropout
    shares = {"dropout": dropout, "branch_dropout": branch_dropout}
    rgbd.check_settings(fusion=fusion, modality=modality, depth=depth, **shares, **tokens)
    height, width, colours = *input_shape[:2], input_shape[2] - 1
    depth_planes = 3 if depth == "normals" else 1
    seen = {"rgb": colours, "depth": 3} if modality == "rgbd" else {modality: 3 if modality == "depth" else colours}
    if modality == "rgbd" and fusion == "early":
        seen = {"rgbd": colours + depth_planes}
    specs = rgbd.backbone_specs(backbone, depth_backbone)
    layers: dict[str, nn.Module] = {} if modality == "rgb" else {"depth_image": DepthImage(depth)}
    late = len(seen) == 2 and fusion == "attention"
    sizes = {}
    for name, planes in seen.items():
        layers[name] = _trunk(specs[name], (height, width, planes), late=late, name=name)
        sizes[name] = _size(layers[name], (1, planes, height, width))
    joined = "alone" if len(seen) == 1 else fusion
    added, features = _LAYERS[joined](sizes, **tokens)
    layers |= added
    if len(seen) == 2:
        layers["branch_dropout"] = BranchDropout(branch_dropout)
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(features, num_classes)
    return RgbdClassifier(layers, join=_JOIN[joined], depth_planes=depth_planes)


def depth_reading(model: nn.Module) -> str | None:
    """How a network reads depth, "relief", "distance" or "normals"; None where it sees none."""
    layer = _depth_image(model)
    return layer and layer.reading


def set_depth_statistics(model: nn.Module, mean: float, deviation: float) -> None:
    """Tell a network the mean and deviation, in millimetres, of its reading of depth over the train faces.

    Nothing changes where it sees no depth, or reads normals.

    Raises:
        ValueError: The deviation is not above 0.
    """
    layer = _depth_image(model)
    if layer:
        layer.set_statistics(mean, deviation)


def _depth_image(model: nn.Module) -> DepthImage | None:
    return next((module for module in model.modules() if isinstance(module, DepthImage)), None)


def _trunk(spec: str, shape: tuple[int, int, int], *, late: bool, name: str) -> nn.Sequential:
    """A backbone of the registry without its head, or without its pooling too where the late map is wanted."""
    from fer_hierarchy.pt_files.registry import create_backbone

    try:
        model = create_backbone(spec, input_shape=shape)
    except ValueError as error:
        raise ValueError(f"backbone {spec} for {name}: {error}") from error
    layers = OrderedDict(model.layers.named_children())
    del layers["predictions"]
    if isinstance(next(reversed(layers.values())), nn.Dropout):
        layers.popitem()
    if late:
        last, pooling = layers.popitem()
        if last != "features" or not isinstance(pooling, GlobalAverage):
            raise rgbd.no_map(spec)
    return nn.Sequential(layers)


def _size(trunk: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What a backbone gives of one picture: (width,), or (height, width, channels) of its map."""
    with torch.no_grad():
        size = tuple(trunk.eval()(torch.zeros(shape)).shape[1:])
    trunk.train()
    return size if len(size) == 1 else (*size[1:], size[0])


def _no_layers(sizes: dict[str, tuple[int, ...]], **_: float) -> tuple[dict[str, nn.Module], int]:
    return {}, next(iter(sizes.values()))[0]


def _late_layers(sizes: dict[str, tuple[int, ...]], **_: float) -> tuple[dict[str, nn.Module], int]:
    return {}, sum(width for (width,) in sizes.values())


def _sum_layers(sizes: dict[str, tuple[int, ...]], **_: float) -> tuple[dict[str, nn.Module], int]:
    rgbd.check_equal(sizes, fusion="sum")
    return _no_layers(sizes)


def _gated_layers(sizes: dict[str, tuple[int, ...]], **_: float) -> tuple[dict[str, nn.Module], int]:
    layers: dict[str, nn.Module] = {f"{name}_gate": dense(width, width) for name, (width,) in sizes.items()}
    inputs, outputs = sum(width for (width,) in sizes.values()), sizes["rgb"][0]
    layers["mix"] = start_he_normal(nn.Linear(inputs, outputs, bias=False))
    layers["mix_bn"] = BatchNorm(outputs, momentum=_BN_MOMENTUM)
    return layers, outputs


def _attention_layers(
    sizes: dict[str, tuple[int, ...]],
    *,
    modules: int,
    dim: int,
    blocks: int,
    heads: int,
    mlp_dim: int,
    token_dropout: float,
) -> tuple[dict[str, nn.Module], int]:
    rgbd.check_equal(sizes, fusion="attention")
    height, width, channels = sizes["rgb"]
    layers: dict[str, nn.Module] = {
        f"{name}_mask{number}": _Mask(channels) for name in sizes for number in range(1, modules + 1)
    }
    layers["patches"] = start_glorot(nn.Conv2d(channels, dim, 1, bias=False))
    layers["patches_bn"] = BatchNorm(dim, momentum=_BN_MOMENTUM)
    layers["tokens"] = ClassTokenAndPositions(height * width, dim)
    layers["tokens_dropout"] = nn.Dropout(token_dropout)
    settings = {"heads": heads, "mlp_dim": mlp_dim, "dropout": token_dropout, "deviation": _DEVIATION}
    layers |= {f"block{number}": TransformerBlock(dim, **settings) for number in range(1, blocks + 1)}
    layers["norm"] = layer_norm(dim)
    return layers, dim


class _Mask(nn.Module):
    """A number in (0, 1) for each place of a map: (batch, channels, height, width) to (batch, 1, height, width)."""

    def __init__(self, channels: int):
        super().__init__()
        narrow = max(1, channels // _SQUEEZE_RATIO)
        self.reduce = convolution(channels, narrow, 1)
        self.reduce_bn = BatchNorm(narrow, momentum=_BN_MOMENTUM)
        self.score = start_glorot(nn.Conv2d(narrow, 1, 1, bias=False))
        self.score_bn = BatchNorm(1, momentum=_BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """Judge every place."""
        x = functional.relu(self.reduce_bn(self.reduce(x)))
        return torch.sigmoid(self.score_bn(self.score(x)))


def _alone(_: nn.ModuleDict, parts: _Parts) -> Tensor:
    return next(iter(parts.values()))


def _side_by_side(_: nn.ModuleDict, parts: _Parts) -> Tensor:
    return torch.cat([parts["rgb"], parts["depth"]], dim=1)


def _summed(_: nn.ModuleDict, parts: _Parts) -> Tensor:
    return parts["rgb"] + parts["depth"]


def _gated(layers: nn.ModuleDict, parts: _Parts) -> Tensor:
    gated = [x * torch.sigmoid(layers[f"{name}_gate"](x)) for name, x in parts.items()]
    return functional.relu(layers["mix_bn"](layers["mix"](torch.cat(gated, dim=1))))


def _attended(layers: nn.ModuleDict, parts: _Parts) -> Tensor:
    x = sum(_weighed(layers, name, x) for name, x in parts.items())
    x = layers["patches_bn"](layers["patches"](x)).flatten(2).transpose(1, 2)  # (batch, places, dim)
    x = layers["tokens_dropout"](layers["tokens"](x))
    for name, layer in layers.items():
        if name.startswith("block"):
            x = layer(x)
    return layers["norm"](x)[:, 0]


def _weighed(layers: nn.ModuleDict, name: str, x: Tensor) -> Tensor:
    masks = [layer(x) for key, layer in layers.items() if key.startswith(f"{name}_mask")]
    return x * torch.cat(masks, dim=1).amax(dim=1, keepdim=True)


_LAYERS = {
    "alone": _no_layers,
    "late": _late_layers,
    "sum": _sum_layers,
    "gated": _gated_layers,
    "attention": _attention_layers,
}
_JOIN = {"alone": _alone, "late": _side_by_side, "sum": _summed, "gated": _gated, "attention": _attended}
