"""What the RGB-D networks of both frameworks share: choices, the meaning of a depth plane, and its scales."""

from collections.abc import Mapping
from typing import Annotated

from fer_hierarchy.models.settings import one_of

MODALITIES = ("rgbd", "rgb", "depth")
FUSIONS = ("late", "sum", "gated", "attention", "early")
READINGS = ("relief", "distance", "normals")
Modality = Annotated[str, one_of(*MODALITIES)]
Fusion = Annotated[str, one_of(*FUSIONS)]
Reading = Annotated[str, one_of(*READINGS)]

# A depth plane: distance from the camera in twentieths of a millimetre, larger is farther, 0 is a hole.
UNIT_MM = 0.05
NOMINAL_MM = 600.0  # where the middle of a face usually stands
MOST_RELIEF_MM = 120.0  # half a head: heights over the face's mean are cut off there
FACE_MM = 200.0  # that a picture of a face is taken to be wide, for the slope of its surface

# Mean and deviation in millimetres of each reading before a data set's own are known; a unit normal needs none.
START: Mapping[str, tuple[float, float]] = {"relief": (0.0, 20.0), "distance": (NOMINAL_MM, 100.0)}
GREY, GREYS = 128.0, 48.0  # grey level of the mean, and greys for each deviation nearer to the camera
DIRECTION_GREY = 127.5  # of a normal's component 0; 1 is twice that
SEEN = 255.0  # of a measured pixel in the plane that marks holes


def backbone_specs(backbone: str, depth_backbone: str | None) -> dict[str, str]:
    """The registry's spec of each backbone, by its input.

    In `backbone=resnet18/stem=imagenet` a slash stands for the colon, which separates the settings of the fusion.
    """
    colour = backbone.replace("/", ":")
    depth = colour if depth_backbone is None else depth_backbone.replace("/", ":")
    return {"rgb": colour, "depth": depth, "rgbd": colour}


def check_equal(shapes: Mapping[str, tuple[int, ...]], *, fusion: str) -> None:
    """Check that what the backbones of colour and depth give can be added.

    Args:
        shapes: rgb and depth -> (values,), or (height, width, channels) of a map.
        fusion: What adds them.

    Raises:
        ValueError: The shapes differ.
    """
    if len(set(shapes.values())) > 1:
        sizes = " and ".join("x".join(map(str, shape)) for shape in shapes.values())
        raise ValueError(
            f"fusion={fusion} adds what both backbones give, which is {sizes} values; "
            "use backbones that give the same, or fusion=gated"
        )


def no_map(spec: str) -> ValueError:
    """The error of a backbone that has no late map."""
    return ValueError(
        f"fusion=attention needs the map that a backbone averages at its end, and {spec} has none; "
        "use fusion gated, sum or early, or a backbone such as compact_resnet"
    )
