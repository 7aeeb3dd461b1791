"""What a search of each model draws from by default.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

from typing import Any

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.models.spec import parse_spec
from fer_hierarchy.tuning.space.dimension import IMAGE_SIZE, MODEL, Dimension, Space

# Keywords that trained weights do not mind.
KEEPS_WEIGHTS = ("dropout", "stage_dropout", "drop_connect", "branch_dropout")
REBALANCES = ("weighted", "balanced-softmax")

# As `Dimension.from_json` reads them. What decides the rate is in `_learning_rate`.
_COMMON = {
    "weight_decay": {"low": 1e-5, "high": 1e-2, "scale": "log"},
    "batch_size": [32, 64, 128],
    "label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.05},
    "schedule": ["cosine", "linear", "constant"],
    "loss": ["ce", "focal"],  # the others rebalance classes, as `balance` does
    "balance": ["none", "class-weight", "sampler"],
}
_AUGMENTATION = {
    "shift": {"low": 0.0, "high": 0.2, "step": 0.05},
    "rotation": {"low": 0, "high": 20, "step": 5},
    "zoom": {"low": 0.0, "high": 0.2, "step": 0.05},
    "erase": [0.0, 0.25, 0.5],
    "brightness": {"low": 0.0, "high": 0.3, "step": 0.1},
}
_ACTIVATION = ["relu", "elu", "silu"]
_KERNEL_SIZE = [3, 5]
_DROPOUT = {"low": 0.0, "high": 0.5, "step": 0.1}
_HEAVY_DROPOUT = {"low": 0.2, "high": 0.7, "step": 0.1}
_VGG = {
    "width_factor": [0.25, 0.5, 1.0],
    "batch_norm": [True, False],
    "head_widths": ["256", "512+512", "1024+1024"],
    "dropout": _HEAVY_DROPOUT,
    IMAGE_SIZE: [32, 48, 64],
}
_VIT = {
    "depth": [4, 8, 12],
    "dim": [192, 384, 768],
    "heads": [4, 8, 12],
    "mlp_dim": [768, 1536, 3072],
    "dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
}
# The keywords of each model's builder, and the size of its faces: not of transformers, whose patches must divide it.
_MODELS: dict[str, dict[str, Any]] = {
    "compact_resnet": {
        "widths": ["24+48+120", "32+64+160", "48+96+240"],
        "blocks": ["1+1+1", "1+1+2", "2+2+2"],
        "squeeze_from": [None, 2, 3],
        "kernel_size": _KERNEL_SIZE,
        "activation": _ACTIVATION,
        "dropout": _DROPOUT,
        IMAGE_SIZE: [32, 48, 64],
    },
    "convnet": {
        "widths": ["32+32+16", "64+64+32", "96+96+48"],
        "dense_widths": ["256+64", "512+64", "512+128"],
        "kernel_size": _KERNEL_SIZE,
        "activation": _ACTIVATION,
        "dropout": _HEAVY_DROPOUT,
        IMAGE_SIZE: [48, 64, 100],
    },
    "deep_cnn": {
        "widths": ["32+64+128", "64+128+256", "96+192+384"],
        "kernel_sizes": ["3+3+3", "5+3+3", "5+5+3"],
        "dense_width": [64, 128, 256],
        "activation": _ACTIVATION,
        "stage_dropout": ["0.2+0.2+0.3", "0.3+0.3+0.4", "0.4+0.4+0.5"],
        "dropout": _HEAVY_DROPOUT,
        IMAGE_SIZE: [32, 48, 64],
    },
    "efficientnet_b0": {
        "drop_connect": {"low": 0.0, "high": 0.4, "step": 0.1},
        "dropout": _DROPOUT,
        IMAGE_SIZE: [48, 64, 96],
    },
    "face_resnet": {
        "widths": ["16+32+64+128+128", "32+64+128+256+256"],
        "blocks": ["1+2+2+2+1", "3+4+3+3+1"],
        "dropout": _DROPOUT,
        IMAGE_SIZE: [64, 96, 112],
    },
    "googlenet": {"width_factor": [0.5, 0.75, 1.0], "dropout": _DROPOUT, IMAGE_SIZE: [64, 96, 128]},
    "hierarchical_cnn": {
        "width_factor": [0.5, 1.0, 1.5],
        "kernel_size": _KERNEL_SIZE,
        "dense_width": [128, 256, 512],
        "activation": _ACTIVATION,
        "stage_dropout": _DROPOUT,
        "dropout": _HEAVY_DROPOUT,
        IMAGE_SIZE: [40, 48, 64],
    },
    "mini_xception": {
        "stem_width": [8, 16],
        "widths": ["16+32+64", "16+32+64+128", "32+64+128+256"],
        "kernel_size": _KERNEL_SIZE,
        "activation": _ACTIVATION,
        "dropout": _DROPOUT,
        IMAGE_SIZE: [32, 48, 64],
    },
    "mobilenet": {"alpha": [0.5, 0.75, 1.0], "blocks": [6, 11, 13], "dropout": _DROPOUT, IMAGE_SIZE: [48, 64, 96]},
    "resnet18": {
        "widths": ["32+64+128+256", "64+128+256+512"],
        "blocks": ["1+1+1+1", "2+2+2+2"],
        "activation": _ACTIVATION,
        "dropout": _DROPOUT,
        IMAGE_SIZE: [32, 48, 64],
    },
    "rgbd_fusion": {
        "backbone": [f"compact_resnet/widths={widths}" for widths in ("24+48+120", "32+64+160", "48+96+240")],
        "fusion": ["late", "gated"],
        "branch_dropout": [0.0, 0.125, 0.25],
        "dropout": _DROPOUT,
        IMAGE_SIZE: [48, 64],
    },
    "shallow_cnn": {
        "widths": ["16+32+64", "32+64+128", "64+128+256"],
        "kernel_size": _KERNEL_SIZE,
        "dense_width": [32, 64, 128],
        "activation": _ACTIVATION,
        "stage_dropout": _DROPOUT,
        "dropout": _HEAVY_DROPOUT,
        IMAGE_SIZE: [32, 48, 64],
    },
    "vgg13": _VGG,
    "vgg16": _VGG,
    "vgg16_bn": {
        "width_factor": [0.25, 0.5, 1.0],
        "head_widths": ["512+512", "4096+4096"],
        "dropout": _HEAVY_DROPOUT,
        IMAGE_SIZE: [64, 96, 128],
    },
    "vit_b16": _VIT,
    "vit_small_patch": _VIT,
}
# Of each pair one must suit the other: where a spec names one, neither is searched.
_PAIRS = (("dim", "heads"), ("backbone", "depth_backbone"))
_FOR_BOTH = ("fusion", "branch_dropout")  # of RGB-D models that see colour and depth
# They stay at chance with the usual rates (see `models.vgg`), or are known to want less.
_TIMID = ("vgg13", "vgg16", "vit_b16", "vit_small_patch")


def default_space(config: StageConfig, *, stage_is_flat: bool) -> Space:
    """What a search of a stage draws from by default; every combination can be trained.

    Settings that differ from their defaults, and what the model's spec names, are not searched.

    Args:
        config: The stage's settings.
        stage_is_flat: Whether the stage is alone with its faces, so that their size may be searched too. Where it is
            not, all stages see faces of one size.

    Raises:
        UserError: The model's spec is none.
    """
    usual = StageConfig()
    common = {"learning_rate": _learning_rate(config), **_COMMON, **(_AUGMENTATION if config.augment else {})}
    if config.loss in REBALANCES:
        del common["balance"]
    if config.reads_depth and config.modality != "rgb":
        common["depth"] = ["relief", "distance", "normals"]
    given = {key: value for key, value in common.items() if getattr(config, key) == getattr(usual, key)}
    given |= {key if key == IMAGE_SIZE else f"{MODEL}{key}": value for key, value in _of_model(config).items()}
    if not stage_is_flat:
        given.pop(IMAGE_SIZE, None)
    return {key: Dimension.from_json(key, value, "default space") for key, value in given.items()}


def _learning_rate(config: StageConfig) -> dict[str, Any]:
    """A hundredfold range around the optimizer's default; a fifth of it for what needs care."""
    name, fixed = parsed_model(config.model)
    timid = _is_trained(config) or (name in _TIMID and fixed.get("batch_norm") is not True)
    middle = (0.05 if config.optimizer == "sgd" else 0.001) / (5 if timid else 1)
    return {"low": middle / 10, "high": middle * 10, "scale": "log"}


def _of_model(config: StageConfig) -> dict[str, Any]:
    """What is searched of the model's own keywords and its size: of trained weights, none that they would not fit."""
    name, fixed = parsed_model(config.model)
    tied = {key for pair in _PAIRS if set(pair) & set(fixed) for key in pair}
    skipped = {*fixed, *tied, *(_FOR_BOTH if config.modality in ("rgb", "depth") else ())}
    return {
        key: value
        for key, value in _MODELS.get(name, {}).items()
        if key not in skipped and (key in KEEPS_WEIGHTS or not _is_trained(config))
    }


def _is_trained(config: StageConfig) -> bool:
    """Whether the model starts from weights of an earlier training."""
    return config.weights != "none" or parsed_model(config.model)[1].get("weights") is not None


def parsed_model(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and the keywords of a model's spec.

    Raises:
        UserError: It is none.
    """
    try:
        return parse_spec(spec)
    except ValueError as error:
        raise UserError(f"--model: {error}") from error
