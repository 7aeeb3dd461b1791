"""A gate and its specialists as heads on one trunk: logits side by side, composed into one prediction.

The composition is the conditional softmax of Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger", CVPR 2017: a
softmax over the children of each node, multiplied along the path.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from fer_hierarchy.models.layers import OwnLayer, Shape


@keras.saving.register_keras_serializable(package="fer")
class ComposedLogits(OwnLayer):
    """log P(class|x) = log P(group|x) + log P(class|group, x), from the logits of a gate and of its specialists.

    The result are logits like any other: their softmax is the composed prediction, so every loss on logits takes them.
    Their cross-entropy with a label is that of the gate with the label's group plus that of the group's own specialist
    with the label; that face does not train the other specialists.

    Input: (batch, heads), the gate's logits, one a group, then those of each group of more than one class in turn.
    Output: (batch, classes).

    Args:
        groups: For each group, the numbers of its classes among all K; each of 0 ... K - 1 is in one group.
        **options: Keras's own layer options, such as `name`.

    Raises:
        ValueError: The groups are no grouping of the classes, or the input has another width.
    """

    settings = ("groups",)

    def __init__(self, groups: Sequence[Sequence[int]], **options: Any) -> None:
        super().__init__(**options)
        self.groups = [[int(place) for place in group] for group in groups]
        places = [place for group in self.groups for place in group]
        if len(self.groups) < 2 or not all(self.groups) or sorted(places) != list(range(len(places))):
            raise ValueError(
                f"groups are {self.groups}; right are at least two, none empty, with each of 0 ... K - 1 in one of them"
            )

    def build(self, input_shape: Shape) -> None:
        """Refuse logits that are not those of these groups' heads."""
        if input_shape[-1] != (width := sum(head_widths(self.groups))):
            raise ValueError(f"got logits of width {input_shape[-1]}; the heads of groups {self.groups} have {width}")

    def call(self, logits: Any) -> Any:
        """Compose a batch of heads' logits."""
        borders = list(accumulate(head_widths(self.groups)))[:-1]
        gate, *specialists = ops.split(logits, borders, axis=-1)
        groups, given = ops.log_softmax(gate, axis=-1), iter(specialists)
        columns: dict[int, Any] = {}
        for number, places in enumerate(self.groups):
            inside = ops.log_softmax(next(given), axis=-1) if len(places) > 1 else 0 * groups[:, number, None]
            columns |= {place: groups[:, number] + inside[:, column] for column, place in enumerate(places)}
        return ops.stack([columns[place] for place in range(len(columns))], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the composed logits."""
        return (*input_shape[:-1], sum(map(len, self.groups)))


def head_widths(groups: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of logits of the gate and of each specialist; a group of one class needs none."""
    return [len(groups), *(len(group) for group in groups if len(group) > 1)]


def with_composed_logits(network: keras.Model, groups: Sequence[Sequence[int]]) -> keras.Model:
    """The network, its weights shared, with `ComposedLogits` behind its heads.

    Args:
        network: Images in, the heads' logits out.
        groups: As for `ComposedLogits`.
    """
    return keras.Model(network.input, ComposedLogits(groups, name="composed")(network.output), name=network.name)
