"""What the package `fer` finds in pictures; runs in an environment of its own, which needs nothing of this project.

pip install fer==25.10.3 "setuptools<81"
echo '["photo.jpg"]' | python fer_photographs.py
"""

import json
import sys
import time

import cv2
from fer.fer import FER


def main() -> None:
    """Print JSON: the CPU-seconds, and for each picture its faces, [left, top, width, height] and an emotion."""
    cv2.setNumThreads(1)
    program, found = FER(), []
    pictures = [cv2.imread(path) for path in json.load(sys.stdin)]
    start = time.process_time()
    for picture in pictures:
        faces = program.detect_emotions(picture)
        found.append([[*map(int, face["box"]), max(face["emotions"], key=face["emotions"].get)] for face in faces])
    print(json.dumps({"seconds": time.process_time() - start, "faces": found}))


if __name__ == "__main__":
    main()
