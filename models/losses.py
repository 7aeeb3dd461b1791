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

_SMALLEST = 1e-7  # of 1 - p and of a centre's squared length: keeps slopes finite where a power or a root has none


class _LossOnLogits(keras.losses.Loss):
    """Mean over the faces of w * loss(y, z), with smoothed y, and w = sum_k y_k w_k of the labels as they are.

    Args:
        label_smoothing: Share of each label that is spread over all classes, 0 <= s < 1.
        class_weights: K weights w_k >= 0, None for no weighting.
        **options: Keras's own loss options: `name`, `reduction`, `dtype`.

    Raises:
        ValueError: A setting is outside its range, or the weights do not fit the logits.
    """

    def __init__(
        self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing!r}; right is a number from 0 to below 1")
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else _numbers("class_weights", class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each face, (batch,), from targets and logits (batch, classes)."""
        num_classes = y_pred.shape[-1]
        shares = class_shares(y_true, num_classes, dtype=y_pred.dtype)
        smoothed = (1 - self.label_smoothing) * shares + self.label_smoothing / num_classes
        losses = self.face_losses(smoothed, y_pred)
        if self.class_weights is None:
            return losses
        weights = _for_logits("class_weights", self.class_weights, num_classes)
        return losses * ops.sum(shares * ops.cast(weights, y_pred.dtype), axis=-1)

    def face_losses(self, shares: Any, logits: Any) -> Any:
        """Unweighted loss of each face, (batch,), from shares and logits (batch, classes)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        own = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="fer")
class CrossEntropy(_LossOnLogits):
    """Cross-entropy: -sum_k y_k log p_k.

    With `class_weights` n / (K n_k), n_k train faces of class k, each class weighs alike in an epoch (King and Zeng,
    "Logistic Regression in Rare Events Data", 2001).

    Args:
        label_smoothing: Share of each label that is spread over all classes, 0 <= s < 1.
        class_weights: K weights w_k >= 0; a face weighs sum_k y_k w_k. The mean divides by faces, not by weights.
        **options: Keras's own loss options.
    """

    def face_losses(self, shares: Any, logits: Any) -> Any:
        """Unweighted loss of each face, (batch,), from shares and logits (batch, classes)."""
        return ops.categorical_crossentropy(shares, logits, from_logits=True)


@keras.saving.register_keras_serializable(package="fer")
class Focal(_LossOnLogits):
    """Focal loss: -sum_k y_k (1 - p_k)^gamma log p_k, which lets easy faces count little; gamma 0 is cross-entropy.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, with softmax in place of the sigmoid, and the sum
    over k so that shares may be targets.

    Args:
        gamma: How much easy faces are ignored, at least 0.
        label_smoothing: Share of each label that is spread over all classes, 0 <= s < 1.
        class_weights: K weights w_k >= 0, the paper's alpha; a face weighs sum_k y_k w_k.
        **options: Keras's own loss options.
    """

    def __init__(self, gamma: float = 2.0, label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(label_smoothing, **options)
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma is {gamma!r}; right is a finite number of at least 0")
        self.gamma = gamma

    def face_losses(self, shares: Any, logits: Any) -> Any:
        """Unweighted loss of each face, (batch,), from shares and logits (batch, classes)."""
        log_probabilities = ops.log_softmax(logits, axis=-1)
        rest = ops.maximum(-ops.expm1(log_probabilities), _SMALLEST)  # 1 - p, exact where p is almost 1
        return -ops.sum(shares * ops.power(rest, self.gamma) * log_probabilities, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="fer")
class BalancedSoftmax(_LossOnLogits):
    """Balanced softmax: -sum_k y_k log(n_k e^{z_k} / sum_j n_j e^{z_j}), n_k train faces of class k.

    Cross-entropy of z + log n: the counts explain how frequent a class is, so z answers for classes alike in number.
    Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020; the same as the logit-adjusted
    loss with tau = 1 of Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.

    Args:
        class_counts: K counts (or shares) n_k > 0 of the rows that training draws.
        label_smoothing: Share of each label that is spread over all classes, 0 <= s < 1.
        **options: Keras's own loss options, and `class_weights`.
    """

    def __init__(self, class_counts: Sequence[float], label_smoothing: float = 0.0, **options: Any) -> None:
        super().__init__(label_smoothing, **options)
        self.class_counts = _numbers("class_counts", class_counts)
        if 0 in self.class_counts:
            raise ValueError(f"class_counts are {self.class_counts}; right are numbers above 0, one for each class")

    def face_losses(self, shares: Any, logits: Any) -> Any:
        """Unweighted loss of each face, (batch,), from shares and logits (batch, classes)."""
        counts = np.array(_for_logits("class_counts", self.class_counts, logits.shape[-1]))
        prior = ops.cast(np.log(counts / counts.sum()), logits.dtype)
        return ops.categorical_crossentropy(shares, logits + prior, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "class_counts": self.class_counts}


@keras.saving.register_keras_serializable(package="fer")
class CenterLoss(keras.layers.Layer):
    """Pulls the features x of a face towards the centre c of its class: mean over faces of 1/2 sum_j y_j |x - c_j|^2.

    Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016 (who sum over the
    batch; the mean makes the weight beside a mean cross-entropy independent of the batch size). In training each call
    moves the centres by the paper's own rule, c_j <- c_j - rate * delta_j,
    delta_j = sum_i y_ij (c_j - x_i) / (1 + sum_i y_ij).

    The centres are no trainable weights: like the moving statistics of batch normalisation they are state that is
    saved and restored with the model, and the rule learns them. An optimiser's weight decay would pull them to zero,
    its adaptive steps would follow the noise of rare classes.

    Args:
        num_classes: K.
        rate: The share of delta_j that a step moves centre j, 0 < rate <= 1.
        seed: Decides the initial centres, drawn from a normal distribution.
        **options: Keras's own layer options.

    Attributes:
        centers: (K, d) weight, made by the first call.

    Raises:
        ValueError: A setting is outside its range.
    """

    _fewest_classes = 1

    def __init__(self, num_classes: int, *, rate: float = 0.5, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        if num_classes < self._fewest_classes:
            raise ValueError(f"num_classes is {num_classes}; right is at least {self._fewest_classes}")
        if not 0 < rate <= 1:
            raise ValueError(f"rate is {rate!r}; right is a number above 0, at most 1")
        self.num_classes = num_classes
        self.rate = rate
        self.seed = seed

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
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
        penalty = self.penalty(features, shares, centers)
        if training:
            self.centers.assign(centers - self.rate * self.step(ops.stop_gradient(features), shares, centers))
        return penalty

    def penalty(self, features: Any, shares: Any, centers: Any) -> Any:
        """The scalar that training adds, weighted, to the loss."""
        return center_penalty(features, shares, centers)

    def step(self, features: Any, shares: Any, centers: Any) -> Any:
        """The papers' delta of all centres, (K, d)."""
        return center_step(features, shares, centers)

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> tuple[()]:  # noqa: ARG002 - Keras's
        """A scalar's shape."""
        return ()

    def get_config(self) -> dict[str, Any]:
        """Settings that a saved model needs to build the layer again."""
        own = {"num_classes": self.num_classes, "rate": self.rate, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="fer")
class IslandLoss(CenterLoss):
    """Centre loss + island_weight * sum over ordered pairs j != k of (cos(c_j, c_k) + 1): centres also move apart.

    Cai et al., "Island Loss for Learning Discriminative Features in Facial Expression Recognition", FG 2018. To delta_j
    comes island_weight / (K - 1) * sum_{k != j} (c_k / (|c_k| |c_j|) - (c_k . c_j) c_j / (|c_k| |c_j|^3)).
    The pairs do not depend on the features: they reach them through the centres.

    Args:
        num_classes: K, at least 2.
        island_weight: The paper's lambda_1, at least 0; 0 is the centre loss.
        rate: As in `CenterLoss`.
        seed: As in `CenterLoss`.
        **options: Keras's own layer options.

    Raises:
        ValueError: A setting is outside its range.
    """

    _fewest_classes = 2

    def __init__(
        self, num_classes: int, *, island_weight: float = 10.0, rate: float = 0.5, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(num_classes, rate=rate, seed=seed, **options)
        if not 0 <= island_weight < float("inf"):
            raise ValueError(f"island_weight is {island_weight!r}; right is a finite number of at least 0")
        self.island_weight = island_weight

    def penalty(self, features: Any, shares: Any, centers: Any) -> Any:
        """The scalar that training adds, weighted, to the loss."""
        return super().penalty(features, shares, centers) + self.island_weight * island_penalty(centers)

    def step(self, features: Any, shares: Any, centers: Any) -> Any:
        """The papers' delta of all centres, (K, d)."""
        return super().step(features, shares, centers) + self.island_weight * island_step(centers)

    def get_config(self) -> dict[str, Any]:
        """Settings that a saved model needs to build the layer again."""
        return {**super().get_config(), "island_weight": self.island_weight}


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


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if not numbers or not all(0 <= number < float("inf") for number in numbers):
        raise ValueError(f"{name} are {numbers}; right are finite numbers of at least 0, one for each class")
    return numbers


def _for_logits(name: str, numbers: list[float], num_classes: int) -> list[float]:
    if len(numbers) != num_classes:
        raise ValueError(f"{name} are {len(numbers)} numbers for logits of {num_classes} classes; right is one each")
    return numbers
