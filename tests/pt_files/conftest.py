"""Models of both frameworks side by side, small enough to be built in a moment."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

NO_DROPOUT = {"dropout": 0.0}
NO_DROPOUTS = {"dropout": 0.0, "stage_dropout": 0.0}
RGBD = {
    "backbone": "compact_resnet:stem_width=6:widths=8+16:blocks=1+1:strides=2+2",
    "fusion": "attention",
    "depth": "relief",
    "modules": 2,
    "dim": 12,
    "heads": 3,
    "blocks": 1,
    "mlp_dim": 10,
    "dropout": 0.0,
    "branch_dropout": 0.0,
    "token_dropout": 0.0,
}

# Label -> name, image shape, settings: every branch of every builder, and sides that are odd or unequal.
SMALL: dict[str, tuple[str, tuple[int, int, int], dict[str, Any]]] = {
    "compact_resnet": (
        "compact_resnet",
        (33, 31, 1),
        {"stem_width": 8, "widths": (8, 24), "blocks": (1, 2), "strides": (1, 2), "squeeze_from": 2, **NO_DROPOUT},
    ),
    "compact_resnet-slow-stem": (
        "compact_resnet",
        (18, 24, 3),
        {
            "stem_stride": 1,
            "stem_width": 6,
            "widths": (8,),
            "blocks": (1,),
            "strides": (1,),
            "squeeze_from": None,
            **NO_DROPOUT,
        },
    ),
    "compact_resnet-wide-kernels": (
        "compact_resnet",
        (21, 18, 1),
        {"widths": (8, 8), "blocks": (1, 1), "strides": (1, 2), "kernel_size": 5, "activation": "silu", **NO_DROPOUT},
    ),
    "hierarchical_cnn": (
        "hierarchical_cnn",
        (46, 56, 1),
        {"widths": ((4, 6), (8, 8), (8, 10)), "dense_width": 16, **NO_DROPOUTS},
    ),
    "hierarchical_cnn-wide-kernels": (
        "hierarchical_cnn",
        (37, 46, 1),
        {
            "widths": ((8, 12), (16, 16), (16, 20)),
            "width_factor": 0.6,
            "kernel_size": 5,
            "dense_width": 16,
            "activation": "leaky_relu",
            **NO_DROPOUTS,
        },
    ),
    "shallow_cnn": ("shallow_cnn", (25, 18, 3), {"widths": (4, 6, 8), "dense_width": 16, **NO_DROPOUTS}),
    "shallow_cnn-wide-kernels": (
        "shallow_cnn",
        (17, 18, 1),
        {"widths": (4, 6), "kernel_size": 5, "dense_width": 16, "activation": "leaky_relu", **NO_DROPOUTS},
    ),
    "deep_cnn": (
        "deep_cnn",
        (24, 17, 1),
        {
            "widths": (4, 6, 8),
            "kernel_sizes": (5, 4, 3),
            "dense_width": 16,
            "stage_dropout": (0.0, 0.0, 0.0),
            **NO_DROPOUT,
        },
    ),
    "deep_cnn-gelu": (
        "deep_cnn",
        (16, 17, 1),
        {
            "widths": (4,),
            "kernel_sizes": (3,),
            "dense_width": 16,
            "activation": "gelu",
            "stage_dropout": (0.0,),
            **NO_DROPOUT,
        },
    ),
    "vgg13": ("vgg13", (64, 96, 1), {"width_factor": 0.1, "head_widths": (16,), "pooled_size": 2, **NO_DROPOUT}),
    "vgg16": ("vgg16", (36, 40, 1), {"width_factor": 0.1, "head_widths": (16, 8), "pooled_size": 3, **NO_DROPOUT}),
    "vgg16_bn": ("vgg16_bn", (64, 64, 3), {"width_factor": 0.1, "head_widths": (16,), "pooled_size": 2, **NO_DROPOUT}),
    "resnet18": ("resnet18", (25, 18, 1), {"widths": (8, 8, 12), "blocks": (1, 1, 2)}),
    "resnet18-imagenet-stem": (
        "resnet18",
        (45, 64, 3),
        {"stem": "imagenet", "widths": (8, 12), "blocks": (1, 1)},
    ),
    "resnet18-elu": (
        "resnet18",
        (45, 40, 1),
        {"stem": "imagenet", "widths": (8,), "blocks": (1,), "activation": "elu"},
    ),
    "face_resnet": ("face_resnet", (57, 64, 1), {"widths": (8, 8, 12, 12), "blocks": (1, 2, 1, 1)}),
    "face_resnet-colour": ("face_resnet", (48, 63, 3), {"widths": (8, 6, 12), "blocks": (1, 2, 1), **NO_DROPOUT}),
    "rgbd_fusion": ("rgbd_fusion", (32, 41, 4), RGBD),
    "rgbd_fusion-late": ("rgbd_fusion", (32, 41, 4), RGBD | {"fusion": "late", "depth": "normals"}),
    "rgbd_fusion-gated": (
        "rgbd_fusion",
        (32, 33, 2),
        RGBD
        | {
            "fusion": "gated",
            "depth": "distance",
            "depth_backbone": "shallow_cnn:widths=4+6:dense_width=12:stage_dropout=0:dropout=0",
        },
    ),
    "rgbd_fusion-sum": ("rgbd_fusion", (32, 36, 4), RGBD | {"fusion": "sum", "depth": "normals"}),
    "rgbd_fusion-early": ("rgbd_fusion", (32, 32, 4), RGBD | {"fusion": "early"}),
    "rgbd_fusion-early-normals": ("rgbd_fusion", (33, 32, 2), RGBD | {"fusion": "early", "depth": "normals"}),
    "rgbd_fusion-rgb": ("rgbd_fusion", (32, 32, 4), RGBD | {"modality": "rgb"}),
    "rgbd_fusion-depth": ("rgbd_fusion", (32, 32, 2), RGBD | {"modality": "depth"}),
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """TensorFlow keeps threads of its own; two pools on the same cores wait for each other."""
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random weights and faces in every run of the tests."""
    pytest.importorskip("torch").manual_seed(0)


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., tuple[Any, Any]]:
    """Builds a Keras model, with weights that all differ, and its fresh twin."""

    def make(spec: str, shape: tuple[int, int, int], **settings: Any) -> tuple[Any, Any]:
        import keras

        from fer_hierarchy.models.registry import create_model as create_keras
        from fer_hierarchy.pt_files.registry import create_model as create_torch

        keras.utils.set_random_seed(0)  # whatever ran before: some weights put a ReLU right at its edge
        keras_model = create_keras(spec, input_shape=shape, num_classes=4, **settings)
        scatter(keras_model)
        return keras_model, create_torch(spec, input_shape=shape, num_classes=4, **settings)

    return make


@pytest.fixture(scope="session")
def small_pair(make_pair) -> Callable[[str], tuple[Any, Any]]:
    """Builds the pair of a label of `SMALL`."""

    def make(label: str) -> tuple[Any, Any]:
        name, shape, settings = SMALL[label]
        return make_pair(name, shape, **settings)

    return make


def scatter(keras_model: Any, seed: int = 0) -> None:
    """Move every vector, so that none of a layer's zeros and ones hides that two were exchanged; statistics, too."""
    rng = np.random.default_rng(seed)
    for weight in keras_model.weights:
        if len(weight.shape) == 1 or weight.name in ("bias", "token"):
            weight.assign(weight.numpy() + rng.uniform(-0.3, 0.3, weight.shape))
        elif len(weight.shape) == 0:
            weight.assign(weight.numpy() + rng.uniform(1, 2))


def made_up_faces(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """(count, height, width, channels) float32 whole grey levels, the last face blank.

    The last of two or four channels is a depth plane: 550 mm and up to 41 more, with holes.
    """
    rng = np.random.default_rng(seed)
    faces = rng.integers(0, 256, (count, *shape)).astype("float32")
    faces[-1] = 128
    if shape[-1] in (2, 4):
        faces[..., -1] = np.where(rng.random(faces.shape[:-1]) < 0.05, 0, 11_000 + 3 * faces[..., -1])
    return faces
