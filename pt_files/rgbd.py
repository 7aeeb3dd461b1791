"""Twin of `models/rgbd.py`: two backbones for faces in colour and depth, and five ways of joining them."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_hierarchy.models import rgbd_settings as rgbd
from fer_hierarchy.models.settings import Count, Half, Share, check_heads
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
    """Twin of `models.layers.BranchDropout`: while training, drops the output of one of two backbones for a face.

    Args:
        rate: Probability that the first is dropped, and that the second is, in [0, 0.5].
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Drop complete rows of a batch, never the same row of both."""
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
        fusion: How the outputs of two backbones become features.
        depth_planes: How many planes of the depth image go into the backbone of early fusion.
    """

    def __init__(self, layers: dict[str, nn.Module], *, fusion: str, depth_planes: int):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.fusion = fusion
        self.depth_planes = depth_planes

    def features(self, pixels: Tensor) -> Tensor:
        """What goes into `predictions`: float32 (batch, width)."""
        parts = {name: self.layers[name](image) for name, image in self._images(pixels).items()}
        return self.layers["dropout"](self._joined(parts) if len(parts) == 2 else next(iter(parts.values())))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (batch, classes)."""
        return self.layers["predictions"](self.features(pixels))

    def _images(self, pixels: Tensor) -> _Parts:
        """The input of each backbone."""
        images = {"rgb": pixels[:, :-1]}
        if "depth_image" in self.layers:
            images["depth"] = self.layers["depth_image"](pixels[:, -1:])
        if "rgbd" in self.layers:
            images["rgbd"] = torch.cat([images["rgb"], images["depth"][:, : self.depth_planes]], dim=1)
        return {name: image for name, image in images.items() if name in self.layers}

    def _joined(self, parts: _Parts) -> Tensor:
        """One vector of features from the features or maps of colour and depth."""
        layers = self.layers
        rgb, depth = layers["branch_dropout"](*parts.values())
        if self.fusion == "late":
            return torch.cat([rgb, depth], dim=1)
        if self.fusion == "sum":
            return rgb + depth
        if self.fusion == "gated":
            gated = [x * torch.sigmoid(layers[f"{name}_gate"](x)) for name, x in (("rgb", rgb), ("depth", depth))]
            return functional.relu(layers["mix_bn"](layers["mix"](torch.cat(gated, dim=1))))
        x = self._weighed("rgb", rgb) + self._weighed("depth", depth)
        x = layers["patches_bn"](layers["patches"](x)).flatten(2).transpose(1, 2)  # (batch, places, dim)
        x = layers["tokens_dropout"](layers["tokens"](x))
        for name, layer in layers.items():
            if name.startswith("block"):
                x = layer(x)
        return layers["norm"](x)[:, 0]

    def _weighed(self, name: str, x: Tensor) -> Tensor:
        """A map, each place times the largest of the weights that the masks give it."""
        masks = [layer(x) for key, layer in self.layers.items() if key.startswith(f"{name}_mask")]
        return x * torch.cat(masks, dim=1).amax(dim=1, keepdim=True)


def rgbd_fusion(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    backbone: str = "compact_resnet",
    depth_backbone: str | None = None,
    fusion: rgbd.Fusion = "late",
    modality: rgbd.Modality = "rgbd",
    depth: rgbd.Reading = "normals",
    modules: Count = 4,
    dim: Count = 128,
    blocks: Count = 2,
    heads: Count = 4,
    mlp_dim: Count = 256,
    dropout: Share = 0.2,
    branch_dropout: Half = 0.25,
    token_dropout: Share = 0.1,
) -> RgbdClassifier:
    """Build the network; the keywords are those of `models.rgbd.rgbd_fusion`, all but the weights.

    A backbone may also be one of timm, `timm/resnet18` or `timm/resnet18/weights=imagenet`, for features only: it has
    no map for "attention".
    """
    check_heads(dim, heads)
    height, width, colours = *input_shape[:2], input_shape[2] - 1
    depth_planes = 3 if depth == "normals" else 1
    inputs = {"rgb": colours, "depth": 3}  # planes of each backbone's input
    if modality != "rgbd":
        inputs = {modality: inputs[modality]}
    elif fusion == "early":
        inputs = {"rgbd": colours + depth_planes}
    specs = rgbd.backbone_specs(backbone, depth_backbone)
    layers: dict[str, nn.Module] = {} if modality == "rgb" else {"depth_image": DepthImage(depth)}
    late = len(inputs) == 2 and fusion == "attention"
    sizes = {}
    for name, planes in inputs.items():
        layers[name] = _trunk(specs[name], (height, width, planes), late=late, name=name)
        sizes[name] = _size(layers[name], (1, planes, height, width))
    features = sizes[name][-1]
    if len(inputs) == 2:
        added, features = _joining_layers(
            fusion,
            sizes,
            modules=modules,
            dim=dim,
            blocks=blocks,
            heads=heads,
            mlp_dim=mlp_dim,
            dropout=token_dropout,
        )
        layers |= added
        layers["branch_dropout"] = BranchDropout(branch_dropout)
    layers["dropout"] = nn.Dropout(dropout)
    layers["predictions"] = dense(features, num_classes)
    return RgbdClassifier(layers, fusion=fusion, depth_planes=depth_planes)


def depth_image(model: nn.Module) -> DepthImage | None:
    """The layer of a network that reads depth; None where it has no depth."""
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
    """Shape of the output of a backbone for one picture: (width,), or (height, width, channels) of its map."""
    with torch.no_grad():
        size = tuple(trunk.eval()(torch.zeros(shape)).shape[1:])
    trunk.train()
    return size if len(size) == 1 else (*size[1:], size[0])


def _joining_layers(
    fusion: str,
    sizes: dict[str, tuple[int, ...]],
    *,
    modules: int,
    dim: int,
    blocks: int,
    heads: int,
    mlp_dim: int,
    dropout: float,
) -> tuple[dict[str, nn.Module], int]:
    """The layers that join the outputs, of these sizes, of two backbones; and how many features come out."""
    if fusion == "late":
        return {}, sum(width for (width,) in sizes.values())
    if fusion == "gated":
        layers: dict[str, nn.Module] = {f"{name}_gate": dense(width, width) for name, (width,) in sizes.items()}
        inputs, outputs = sum(width for (width,) in sizes.values()), sizes["rgb"][0]
        layers["mix"] = start_he_normal(nn.Linear(inputs, outputs, bias=False))
        layers["mix_bn"] = BatchNorm(outputs, momentum=_BN_MOMENTUM)
        return layers, outputs
    rgbd.check_equal(sizes, fusion=fusion)
    if fusion == "sum":
        return {}, sizes["rgb"][0]
    height, width, channels = sizes["rgb"]
    layers = {f"{name}_mask{number}": _Mask(channels) for name in sizes for number in range(1, modules + 1)}
    layers["patches"] = start_glorot(nn.Conv2d(channels, dim, 1, bias=False))
    layers["patches_bn"] = BatchNorm(dim, momentum=_BN_MOMENTUM)
    layers["tokens"] = ClassTokenAndPositions(height * width, dim)
    layers["tokens_dropout"] = nn.Dropout(dropout)
    for number in range(1, blocks + 1):
        block = TransformerBlock(dim, heads=heads, mlp_dim=mlp_dim, dropout=dropout, deviation=_DEVIATION)
        layers[f"block{number}"] = block
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
        """Score every place."""
        x = functional.relu(self.reduce_bn(self.reduce(x)))
        return torch.sigmoid(self.score_bn(self.score(x)))
