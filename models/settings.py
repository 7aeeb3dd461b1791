"""Kinds of settings that builders take, in both frameworks: the annotation of a keyword holds its limits.

`models.spec.checked_settings` checks them, so that a builder receives what makes a network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

FLOAT32 = "float32"
MIXED_FLOAT16 = "mixed_float16"
PRECISIONS = (FLOAT32, "mixed_bfloat16", MIXED_FLOAT16)  # of the numbers between a network's layers


@dataclass(frozen=True)
class Limit:
    """What a setting must be, beyond its type.

    Attributes:
        allows: Whether a value, or each of several, is within the limit.
        words: What comes after "must".
    """

    allows: Callable[[Any], bool]
    words: str


def one_of(*choices: object) -> Limit:
    """The limit of a setting that names one of a few possibilities."""
    return Limit(lambda value: value in choices, f"be {' or '.join(map(str, choices))}")


Share = Annotated[float, Limit(lambda value: 0 <= value < 1, "lie in [0, 1)")]  # such as dropout
Half = Annotated[float, Limit(lambda value: 0 <= value <= 0.5, "lie in [0, 0.5]")]
Count = Annotated[int, Limit(lambda value: value >= 1, "be 1 or more")]  # such as channels
Factor = Annotated[float, Limit(lambda value: value > 0, "be above 0")]
Pairs = Annotated[  # channels of the two convolutions of each of three stages
    Sequence[Sequence[Count]],
    Limit(lambda widths: [len(pair) for pair in widths] == [2, 2, 2], "be three pairs of channels"),
]
Stride = Annotated[int, one_of(1, 2)]
KernelSize = Annotated[int, one_of(3, 5)]  # of builders that take one for many convolutions
Stem = Annotated[str, one_of("small", "imagenet")]
ACTIVATIONS = ("relu", "elu", "gelu", "silu", "leaky_relu")
Activation = Annotated[str, one_of(*ACTIVATIONS)]
# Of red, green and blue in ImageNet, in grey levels.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)
# Of leaky_relu, below zero. The frameworks' own defaults differ: 0.2 or 0.3 in Keras, 0.01 in PyTorch.
LEAKY_SLOPE = 0.2


def check_stages(*, most: int | None = None, **settings: Sequence[float]) -> None:
    """Check that settings have one entry for each stage of a network.

    Raises:
        ValueError: They have none, more than `most`, or not equally many.
    """
    lengths = {name: len(values) for name, values in settings.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{listed} entries; each needs one entry for each stage")
    name, values = next(iter(settings.items()))
    if not 1 <= len(values) <= (most or len(values)):
        raise ValueError(f"{name} is {values!r}; it must have 1 {f'to {most}' if most else 'or more'} entries")


def residual_blocks(widths: Sequence[int], blocks: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Name, width and stride of each block; the first one of each stage after the first halves the map.

    Args:
        widths: Channels of each stage.
        blocks: Blocks of each stage; as many entries as `widths`.
    """
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            yield f"stack{stage}_block{block}", width, 2 if stage > 0 and block == 0 else 1


def check_heads(dim: int, heads: int) -> None:
    """Check that the width of a token can be divided among attention heads.

    Raises:
        ValueError: It cannot.
    """
    if dim % heads:
        raise ValueError(f"dim is {dim!r} and heads is {heads!r}; dim must be a multiple of heads")
