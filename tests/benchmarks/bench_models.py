"""What each model of the registry costs: parameters, multiply-adds, images a second in training and in inference.

    python tests/benchmarks/bench_models.py                      # all models, each at its own image size
    python tests/benchmarks/bench_models.py --models deep_cnn vgg13 --seconds 20

Random grey images, batches in memory, AdamW, all cores that the process may use. Each figure is the median of rounds
that visit all models in turn, so a slow moment of the machine does not fall on one model alone.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fer_hierarchy.hierarchy  # noqa: F401 - sets TensorFlow's environment

# Images of a step: as many as keep a step's memory in hand.
_SMALL_BATCH = {"vgg16_bn": 8, "vit_b16": 8, "vit_small_patch": 16, "googlenet": 32}


def main() -> None:
    """Measure the models in turn and print a Markdown table."""
    from fer_hierarchy.models.registry import list_models

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list_models(), metavar="NAME", help="default: all")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a step, fewer for the largest models")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each figure in each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    speeds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in arguments.models}
    for number in range(arguments.rounds):
        for name in arguments.models:
            trained, predicted = _measure(name, arguments.batch_size, arguments.seconds)
            speeds[name][0].append(trained)
            speeds[name][1].append(predicted)
            print(f"round {number + 1}, {name}: {trained:.1f} and {predicted:.1f} images/s", file=sys.stderr)
    _print_table(speeds, arguments.batch_size)


def _measure(name: str, batch_size: int, seconds: float) -> tuple[float, float]:
    """Images a second in training and in inference."""
    import keras
    import numpy as np
    import tensorflow as tf

    from fer_hierarchy.models.registry import create_model, model_info

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    info, count = model_info(name), _batch(name, batch_size)
    model = create_model(name, input_shape=(info.size, info.size, info.channels[0]), num_classes=7)
    model.compile(keras.optimizers.AdamW(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    faces = tf.constant(rng.integers(0, 256, (count, *model.input_shape[1:])), tf.float32)
    labels = tf.constant(rng.integers(0, 7, count))
    predict = tf.function(lambda: model(faces, training=False))
    trained = _rate(lambda: model.train_on_batch(faces, labels), count, seconds)
    return trained, _rate(lambda: predict().numpy(), count, seconds)


def _batch(name: str, batch_size: int) -> int:
    return min(batch_size, _SMALL_BATCH.get(name, batch_size))


def _rate(step: Callable[[], object], count: int, seconds: float) -> float:
    """Images a second of repeated steps of `count` images, after one that compiles."""
    step()
    steps, start = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps * count / (time.perf_counter() - start)


def _print_table(speeds: dict[str, tuple[list[float], list[float]]], batch_size: int) -> None:
    from fer_hierarchy.hierarchy.cli.model_table import model_table

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    table = model_table().set_index("name")
    print(f"{cores} cores; medians of {len(next(iter(speeds.values()))[0])} rounds\n")
    print("| model | input | parameters | multiply-adds | batch | training, images/s | inference, images/s |")
    print("|---|---|---|---|---|---|---|")
    for name, figures in speeds.items():
        row = table.loc[name]
        trained, predicted = (_three_digits(statistics.median(rounds)) for rounds in figures)
        cost = f"{row['parameters']:,} | {row['multiply_adds'] / 1e6:,.1f} M"
        print(f"| `{name}` | {row['input']} | {cost} | {_batch(name, batch_size)} | {trained} | {predicted} |")


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,g}"


if __name__ == "__main__":
    main()
