"""Losses on logits and penalties on features, written with `keras.ops` so that they run on every Keras backend.

Targets may be one-hot or shares, (batch, classes), or class indices, (batch,) or (batch, 1). Below, y_k is the share of
class k in a face's target, z_k its logit, p = softmax(z), K the number of classes, and every loss is the mean over the
faces of a batch. Label smoothing s replaces y_k by (1 - s) y_k + s / K (Szegedy et al., "Rethinking the Inception
Architecture for Computer Vision", CVPR 2016).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fer_hierarchy.models.layers import OwnLayer, Shape

_SMALLEST = 1e-7  # of 1 - p and of a centre's squared length: keeps slopes finite where a power or a root has none


@keras.saving.register_keras_serializable(package="fer")
class CrossEntropy(keras.losses.Loss):
    """Mean over the faces of w sum_k -y_k (1 - p_k)^gamma log p_k, with smoothed y, and w = sum_k y_k w_k.

    - With `class_weights` n / (K n_k), n_k train faces of class k, each class weighs alike in an epoch (King and Zeng,
      "Logistic Regression in Rare Events Data", 2001).
    - With `gamma` it is the focal loss, in which easy faces count little (Lin et al., "Focal Loss for Dense Object
      Detection", ICCV 2017, with softmax in place of the sigmoid, and the sum over k so that shares may be targets).
    - With `class_counts` n_k it is the balanced softmax, the cross-entropy of z + log n: the counts explain how
      frequent a class is, so that z is of classes alike in number. Ren et al., "Balanced Meta-Softmax for Long-Tailed
      Visual Recognition", NeurIPS 2020; the same as the logit-adjusted loss with tau = 1 of Menon et al., "Long-tail
      learning via logit adjustment", ICLR 2021.

    Args:
        label_smoothing: Share of each label that is spread over all classes, 0 <= s < 1.
        class_weights: K weights w_k >= 0 of the labels as they are; None for no weighting. The mean divides by faces,
            not by weights.
        gamma: How much easy faces are ignored, at least 0; None for the plain cross-entropy, as 0 is in exact numbers.
        class_counts: K counts (or shares) n_k > 0 of the rows that training draws.
        **options: Keras's own loss options: `name`, `reduction`, `dtype`.

    Raises:
        ValueError: A setting is outside its range, or does not fit the logits.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        *,
        gamma: float | None = None,
        class_counts: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing!r}; right is a number from 0 to below 1")
        if gamma is not None:
            _check_finite(gamma=gamma)
        self.label_smoothing = label_smoothing
        self.class_weights = _numbers("class_weights", class_weights)
        self.gamma = gamma
        self.class_counts = _numbers("class_counts", class_counts)
        if 0 in (self.class_counts or ()):
            raise ValueError(f"class_counts are {self.class_counts}; right are numbers above 0, one for each class")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each face, (batch,), from targets and logits (batch, classes)."""
        num_classes = y_pred.shape[-1]
        shares = class_shares(y_true, num_classes, dtype=y_pred.dtype)
        smoothed = (1 - self.label_smoothing) * shares + self.label_smoothing / num_classes
        logits = y_pred
        if self.class_counts is not None:
            counts = np.array(_for_logits("class_counts", self.class_counts, num_classes))
            logits = logits + ops.cast(np.log(counts / counts.sum()), logits.dtype)
        if self.gamma is None:
            losses = ops.categorical_crossentropy(smoothed, logits, from_logits=True)
        else:
            losses = _focal(smoothed, logits, self.gamma)
        if self.class_weights is None:
            return losses
        weights = _for_logits("class_weights", self.class_weights, num_classes)
        return losses * ops.sum(shares * ops.cast(weights, y_pred.dtype), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("label_smoothing", "class_weights", "gamma", "class_counts")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _focal(shares: Any, logits: Any, gamma: float) -> Any:
    log_probabilities = ops.log_softmax(logits, axis=-1)
    rest = ops.maximum(-ops.expm1(log_probabilities), _SMALLEST)  # 1 - p, exact where p is almost 1
    return -ops.sum(shares * ops.power(rest, gamma) * log_probabilities, axis=-1)


@keras.saving.register_keras_serializable(package="fer")
class CenterLoss(OwnLayer):
    """Pulls the features x of a face towards the centre c of its class: mean over faces of 1/2 sum_j y_j |x - c_j|^2.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016 (who sum over the
    batch; the mean makes the weight beside a mean cross-entropy independent of the batch size). In training each call
    moves the centres by the paper's own rule, c_j <- c_j - rate * delta_j,
    delta_j = sum_i y_ij (c_j - x_i) / (1 + sum_i y_ij).

    With `island_weight` the centres also move apart: + island_weight * sum over ordered pairs j != k of
    (cos(c_j, c_k) + 1). Cai et al., "Island Loss for Learning Discriminative Features in Facial Expression
    Recognition", FG 2018. To delta_j comes
    island_weight / (K - 1) * sum_{k != j} (c_k / (|c_k| |c_j|) - (c_k . c_j) c_j / (|c_k| |c_j|^3)).
    The pairs do not depend on the features: they reach them through the centres.

    The centres are no trainable weights: like the moving statistics of batch normalisation they are state that is
    saved and restored with the model, and the rule moves them. An optimiser's weight decay would pull them to zero,
    its adaptive steps would follow the noise of rare classes.

    Args:
        num_classes: K; at least 2 with `island_weight`.
        rate: The share of delta_j that a step moves centre j, 0 < rate <= 1.
        island_weight: Cai's lambda_1, at least 0; None for the centre loss alone.
        seed: Decides the initial centres, drawn from a normal distribution.
        **options: Keras's own layer options.

    Attributes:
        centers: (K, d) weight, made by the first call.

    Raises:
        ValueError: A setting is outside its range.
    """

    settings = ("num_classes", "rate", "island_weight", "seed")

    def __init__(
        self, num_classes: int, *, rate: float = 0.5, island_weight: float | None = None, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        fewest = 1 if island_weight is None else 2
        if num_classes < fewest:
            raise ValueError(f"num_classes is {num_classes}; right is at least {fewest}")
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate!r}; right is a number above 0, at most 1")
        if island_weight is not None:
            _check_finite(island_weight=island_weight)
        self.num_classes = num_classes
        self.rate = rate
        self.island_weight = island_weight
        self.seed = seed

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Make the centres for features of the width in `input_shape`: shapes of features and targets."""
        self.centers = self.add_weight(
            name="centers",
            shape=(self.num_classes, input_shape[0][-1]),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=self.seed),
            trainable=False,
        )

    def call(self, inputs: tuple[Any, Any], training: bool | None = None) -> Any:
        """The penalty of a batch, a scalar, with the centres as they were before this batch moves them.

        Args:
            inputs: Features (batch, d) and targets.
            training: Whether the centres move.
        """
        features, targets = inputs
        shares = class_shares(targets, self.num_classes, dtype=features.dtype)
        centers = ops.convert_to_tensor(self.centers)
        penalty = center_penalty(features, shares, centers)
        if self.island_weight is not None:
            penalty = penalty + self.island_weight * island_penalty(centers)
        if training:
            step = center_step(ops.stop_gradient(features), shares, centers)
            if self.island_weight is not None:
                step = step + self.island_weight * island_step(centers)
            self.centers.assign(centers - self.rate * step)
        return penalty

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> tuple[()]:  # noqa: ARG002 - Keras's
        """The shape of a scalar."""
        return ()


def class_shares(targets: Any, num_classes: int, *, dtype: Any) -> Any:
    """Any kind of targets as shares (batch, num_classes).

    Args:
        targets: (batch, num_classes) one-hot or shares, or class indices (batch,) or (batch, 1).
        num_classes: K.
        dtype: Of the result.

    Raises:
        ValueError: The targets have another number of classes.
    """
    width = targets.shape[-1] if len(targets.shape) > 1 else 1
    if len(targets.shape) > 2 or width not in (1, num_classes):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)}; right is (batch, {num_classes}), (batch,) or (batch, 1)"
        )
    if len(targets.shape) == 2 and width == num_classes:
        return ops.cast(targets, dtype)
    return ops.one_hot(ops.reshape(ops.cast(targets, "int32"), (-1,)), num_classes, dtype=dtype)


def center_penalty(features: Any, shares: Any, centers: Any) -> Any:
    """Mean over the batch of 1/2 sum_j y_ij |x_i - c_j|^2 (Wen et al., 2016), a scalar.

    Args:
        features: x, (batch, d).
        shares: y, (batch, K).
        centers: c, (K, d).
    """
    distances = ops.sum(ops.square(features[:, None, :] - centers[None, :, :]), axis=-1)  # (batch, K)
    return ops.mean(ops.sum(shares * distances, axis=-1)) / 2


def center_step(features: Any, shares: Any, centers: Any) -> Any:
    """delta_j = sum_i y_ij (c_j - x_i) / (1 + sum_i y_ij) (Wen et al., 2016), (K, d).

    The slope of the penalty summed over the batch, divided by 1 + sum_i y_ij, so that a class that the batch lacks
    stays where it is, and a frequent one goes no further than to its mean.

    Args:
        features: x, (batch, d).
        shares: y, (batch, K).
        centers: c, (K, d).
    """
    counts = ops.sum(shares, axis=0)[:, None]
    return (counts * centers - ops.matmul(ops.transpose(shares), features)) / (1 + counts)


def island_penalty(centers: Any) -> Any:
    """Sum over ordered pairs j != k of cos(c_j, c_k) + 1 (Cai et al., 2018), a scalar from centres (K, d)."""
    directions, _ = _directions(centers)
    pairs = ops.matmul(directions, ops.transpose(directions)) + 1
    return ops.sum(pairs * (1 - ops.eye(centers.shape[0], dtype=centers.dtype)))


def island_step(centers: Any) -> Any:
    """1 / (K - 1) * sum_{k != j} (c_k / (|c_k| |c_j|) - (c_k . c_j) c_j / (|c_k| |c_j|^3)), (K, d) from centres (K, d).

    Cai et al., 2018: the slope of `island_penalty`, in which each pair stands twice, over 2 (K - 1). With u = c / |c|
    and s = sum_k u_k it is (s - (s . u_j) u_j) / (|c_j| (K - 1)): in the sum, k = j adds nothing.
    """
    directions, lengths = _directions(centers)
    total = ops.sum(directions, axis=0)
    along = ops.sum(directions * total, axis=-1, keepdims=True) * directions
    return (total - along) / (lengths * (centers.shape[0] - 1))


def _directions(centers: Any) -> tuple[Any, Any]:
    """Unit vectors (K, d) and lengths (K, 1) of centres (K, d)."""
    squares = ops.sum(ops.square(centers), axis=-1, keepdims=True)
    lengths = ops.sqrt(ops.maximum(squares, _SMALLEST))
    return centers / lengths, lengths


def _check_finite(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 <= number < float("inf"):
            raise ValueError(f"{name} is {number!r}; right is a finite number of at least 0")


def _numbers(name: str, values: Sequence[float] | None) -> list[float] | None:
    numbers = None if values is None else [float(value) for value in values]
    if numbers is not None and not (numbers and all(0 <= number < float("inf") for number in numbers)):
        raise ValueError(f"{name} are {numbers}; right are finite numbers of at least 0, one for each class")
    return numbers


def _for_logits(name: str, numbers: list[float], num_classes: int) -> list[float]:
    if len(numbers) != num_classes:
        raise ValueError(f"{name} are {len(numbers)} numbers for logits of {num_classes} classes; right is one each")
    return numbers
