"""How fast both frameworks train the same model; run by hand on an otherwise idle machine, with torch installed.

    python tests/benchmarks/bench_parity.py --models compact_resnet,hierarchical_cnn --batch-size 64

One Markdown table. Both train on the same batch in memory with the same number of threads, round about in one process,
each round a number of steps in one framework and then in the other; the figures are medians over the rounds.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fer_hierarchy.hierarchy  # noqa: F401 - sets TensorFlow's environment before it is imported

if TYPE_CHECKING:
    import numpy as np
    import torch

MODELS = "compact_resnet,hierarchical_cnn,shallow_cnn,deep_cnn,vgg13:batch_norm=on,resnet18"
CLASSES = 7
TrainSteps = Callable[[int], None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=MODELS, help="specs, separated by commas (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=48, help="side in pixels (default: 48)")
    parser.add_argument("--batch-size", type=int, default=64, help="faces in a step (default: 64)")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round in each framework (default: 10)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each model (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each framework (default: 2)")
    args = parser.parse_args()
    _set_threads(args.threads)
    _print_head(args)
    for spec in args.models.split(","):
        _print_row(spec, args)


def _set_threads(count: int) -> None:
    import tensorflow as tf
    import torch

    tf.config.threading.set_intra_op_parallelism_threads(count)
    torch.set_num_threads(count)


def _print_head(args: argparse.Namespace) -> None:
    import keras
    import tensorflow as tf
    import torch

    print(
        f"Keras {keras.__version__} on TensorFlow {tf.__version__}, PyTorch {torch.__version__}; batches of "
        f"{args.batch_size} grey faces of {args.image_size} pixels, {args.threads} threads, AdamW; medians of "
        f"{args.rounds} rounds of {args.steps} steps, least and largest ratio in brackets.\n"
    )
    print("| model | parameters | Keras, images/s | PyTorch, images/s | PyTorch / Keras |\n|---|--:|--:|--:|--:|")


def _print_row(spec: str, args: argparse.Namespace) -> None:
    """Train one model in turn in both frameworks."""
    import keras
    import numpy as np

    from fer_hierarchy.pt_files.cost import parameters

    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (args.batch_size, args.image_size, args.image_size, 1)).astype(np.float32)
    labels = rng.integers(0, CLASSES, args.batch_size)
    in_keras = _keras_steps(spec, faces, labels)
    in_torch, model = _torch_steps(spec, faces, labels)
    rates = [(_rate(in_keras, args), _rate(in_torch, args)) for _ in range(args.rounds + 1)][1:]  # the first compiles
    ratios = [torch_rate / keras_rate for keras_rate, torch_rate in rates]
    medians = [statistics.median(column) for column in zip(*rates, strict=True)]
    print(
        f"| {spec} | {parameters(model):,} | {medians[0]:.0f} | {medians[1]:.0f} | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
        flush=True,
    )
    keras.backend.clear_session()


def _rate(train: TrainSteps, args: argparse.Namespace) -> float:
    """Images per second of one round."""
    start = time.perf_counter()
    train(args.steps)
    return args.steps * args.batch_size / (time.perf_counter() - start)


def _keras_steps(spec: str, faces: "np.ndarray", labels: "np.ndarray") -> TrainSteps:
    """What trains the Keras model."""
    import keras
    import tensorflow as tf

    from fer_hierarchy.models.registry import create_model

    model = create_model(spec, input_shape=faces.shape[1:], num_classes=CLASSES)
    model.compile(keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = tf.data.Dataset.from_tensors((faces, labels)).cache().repeat()

    def train(count: int) -> None:
        model.fit(data, steps_per_epoch=count, epochs=1, shuffle=False, verbose=0)

    return train


def _torch_steps(spec: str, faces: "np.ndarray", labels: "np.ndarray") -> tuple[TrainSteps, "torch.nn.Module"]:
    """What trains the twin, and the twin."""
    import torch

    from fer_hierarchy.pt_files.registry import create_model

    model = create_model(spec, input_shape=faces.shape[1:], num_classes=CLASSES).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model.to(memory_format=torch.channels_last)  # how Keras keeps its maps; faster on processors
    batch, truth = torch.from_numpy(faces).permute(0, 3, 1, 2), torch.from_numpy(labels)

    def train(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch), truth).backward()
            optimizer.step()

    return train, model


if __name__ == "__main__":
    main()
