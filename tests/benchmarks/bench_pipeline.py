"""What the pipeline costs beside the network itself; run by hand on an otherwise idle machine.

    python tests/benchmarks/bench_pipeline.py --data data/fer2013
    python tests/benchmarks/bench_pipeline.py --data CalD3rMenD3s --model rgbd_fusion --batch-size 16 --steps 12
    python tests/benchmarks/bench_pipeline.py --data data/fer2013 --rounds 0

The time from the data on disk to the first training batch, without and with the cache; what a face costs on one thread
under each kind of augmentation, ours and two layers of Keras; and, where there are rounds, the training throughput of
the whole pipeline (reading, shuffling, augmentation) beside `model.fit` on one batch in memory, the two in turn in one
process.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import fer_hierarchy.hierarchy  # noqa: F401 - sets TensorFlow's environment before it is imported


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder, csv or zip")
    parser.add_argument("--model", default="compact_resnet", help="a model of the registry")
    parser.add_argument("--batch-size", type=int, default=64, help="faces in a training step")
    parser.add_argument("--steps", type=int, default=30, help="training steps of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each of the two")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FER_CACHE"] = cache
        config = _settings(args)
        view, batches = _time_first_batches(config)
        _time_augmentation(config, view)
        _time_layers(batches)
        if args.rounds:
            _time_training(batches, config.stage.model_spec, args.steps, args.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process: {peak:.2f} GB")


def _settings(args: argparse.Namespace):
    from fer_hierarchy.hierarchy.config import RunConfig, apply_flags
    from fer_hierarchy.models.registry import model_info, parse_spec

    size = model_info(parse_spec(args.model)[0]).size
    given = {"mode": "flat", "data": str(args.data), "model": args.model, "batch_size": args.batch_size}
    return apply_flags(RunConfig(), {**given, "image_size": size, "skip_bad": True})


def _time_first_batches(config):
    """Time from the path to the first augmented batch, twice."""
    import logging

    import tensorflow as tf

    from fer_hierarchy.hierarchy.classifiers.stage import train_batches
    from fer_hierarchy.hierarchy.data.faces import read_faces

    tf.constant(0)  # the start of TensorFlow itself is no part of the data's time
    logging.getLogger("fer_hierarchy").setLevel(logging.ERROR)
    for label in ("first time", "from the cache"):
        start = time.perf_counter()
        faces = read_faces(config)
        view = faces.stage_view("flat", "train")
        batches = train_batches(view, config.stage, seed=0)
        next(iter(batches.dataset(0, 1)))
        print(f"path to first batch, {label}: {time.perf_counter() - start:.2f} s ({len(faces.manifest)} faces)")
    return view, batches


def _time_augmentation(config, view, count: int = 100) -> None:
    """Processor time of an image of a batch for each word of --augment, without any model."""
    from fer_hierarchy.hierarchy.classifiers.stage import train_batches
    from fer_hierarchy.hierarchy.config import apply_flags

    for word in ("off", "on", "strong", "randaugment"):
        batches = train_batches(view, apply_flags(config, {"augment": word}).stage, seed=0)
        start = time.process_time()
        for step in range(count):
            batches.batch(step)
        spent = (time.process_time() - start) / (count * batches.faces_per_step)
        print(f"--augment {word}: {spent * 1e6:.0f} us an image")


def _time_layers(batches, count: int = 20) -> None:
    """Processor time of an image under layers of Keras inside tf.data, which the program does not use."""
    import keras
    import tensorflow as tf

    faces = tf.cast(batches.pixels[: batches.faces_per_step, ..., :3], tf.float32)
    for layer in (keras.layers.RandAugment((0, 255), num_ops=2, factor=0.3), keras.layers.AugMix((0, 255))):
        data = iter(tf.data.Dataset.from_tensors(faces).repeat().map(lambda part, layer=layer: layer(part)))
        next(data)
        start = time.process_time()
        for _ in range(count):
            next(data)
        spent = (time.process_time() - start) / (count * len(faces))
        print(f"keras.layers.{type(layer).__name__}: {spent * 1e6:.0f} us an image")


def _time_training(batches, spec: str, steps: int, rounds: int) -> None:
    """Images per second of pipeline and bare fit, in turn, and the median of the ratios of neighbours."""
    import keras
    import tensorflow as tf

    from fer_hierarchy.hierarchy.config import StageConfig
    from fer_hierarchy.hierarchy.training.callbacks import build_loss, build_optimizer
    from fer_hierarchy.hierarchy.training.schedule import phases
    from fer_hierarchy.models.registry import create_model

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    config = StageConfig(epochs=1)
    model = create_model(spec, input_shape=batches.pixels.shape[1:], num_classes=batches.targets.shape[1])
    (phase,) = phases(config)
    loss = build_loss(config, batches.targets.argmax(axis=1), batches.targets.shape[1])
    model.compile(build_optimizer(config, phase, batches.steps_per_epoch), loss, metrics=["accuracy"])
    bare = tf.data.Dataset.from_tensors(next(iter(batches.dataset(0, 1)))).cache().repeat()
    epochs = 1 + steps * (rounds + 1) // batches.steps_per_epoch

    def speed(data: tf.data.Dataset) -> float:
        start = time.perf_counter()
        model.fit(data, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
        return steps * batches.faces_per_step / (time.perf_counter() - start)

    speed(bare)  # compiles the training step
    ratios = []
    for number in range(rounds):
        whole, alone = speed(batches.dataset(0, epochs)), speed(bare)
        ratios.append(whole / alone)
        print(f"round {number + 1}: pipeline {whole:.0f} images/s, bare fit {alone:.0f} images/s, {ratios[-1]:.1%}")
    print(f"pipeline / bare fit: median {statistics.median(ratios):.1%}, {min(ratios):.1%} to {max(ratios):.1%}")


if __name__ == "__main__":
    main()
