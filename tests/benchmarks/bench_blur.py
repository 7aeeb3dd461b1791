"""What `--blur` leaves of a face: is it found, and is its emotion predicted better than by chance?

    python tests/benchmarks/bench_blur.py FER2013/test --limit 1000

Faces cut out, in folders by emotion, are enlarged four times with their border repeated, which a detector needs, and
blurred in the box that is the face. The published weights predict that box before and after.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
from sklearn.metrics import balanced_accuracy_score

from fer_hierarchy import Predictor
from fer_hierarchy.hierarchy.data.decoding import read_image
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.output.blur import blurred

_TIMES, _BORDER = 4, 96  # pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faces", type=Path, help="folder of folders named after emotions")
    parser.add_argument("--limit", type=int, default=1000, help="faces, drawn by seed 0")
    args = parser.parse_args()
    files = sorted(args.faces.glob("*/*"))
    files = [files[row] for row in np.random.default_rng(0).permutation(len(files))[: args.limit]]
    pictures = [_picture(read_image(path)) for path in files]
    truth = [path.parent.name for path in files]
    sides = [picture.shape[0] - 2 * _BORDER for picture in pictures]
    faces = [Face(box=(_BORDER, _BORDER, side, side)) for side in sides]
    predictor = Predictor.load(min_score=0.35)
    hidden = [blurred(picture, [face.box]) for picture, face in zip(pictures, faces, strict=True)]
    for name, some in (("as they are", pictures), ("blurred", hidden)):
        _show(name, some, faces, truth, predictor)


def _picture(face: np.ndarray) -> np.ndarray:
    large = cv2.resize(face, None, fx=_TIMES, fy=_TIMES, interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, *[_BORDER] * 4, cv2.BORDER_REPLICATE)


def _show(name: str, pictures: list[np.ndarray], faces: list[Face], truth: list[str], predictor: Predictor) -> None:
    found = np.mean([bool(own) for own in predictor.find(pictures)])
    crops = [predictor.crops(picture, [face]) for picture, face in zip(pictures, faces, strict=True)]
    emotions = np.array(predictor.facts.taxonomy.emotions)
    predicted = emotions[[table[0].argmax() for table in predictor.predict_each(crops)]]
    right = np.mean(predicted == np.array(truth))
    balanced = balanced_accuracy_score(truth, predicted)
    print(f"{name:<12} n {len(truth)}  found {found:6.1%}  accuracy {right:6.1%}  balanced accuracy {balanced:6.1%}")


if __name__ == "__main__":
    main()
