"""A film of a face that walks to the right, and a predictor that finds it and reads it without a mistake."""

import cv2
import numpy as np

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.detectors import Detector
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig
from tests.conftest import draw_face
from tests.inference.stand_ins import BarModel

ANGRY, HAPPY = 0, 3
SIDE, SIZE = 64, (160, 240)
FRAMES, FPS = 24, 12.0


class BrightDetector(Detector):
    """Finds what is bright on a dark ground."""

    def __init__(self):
        self.searched = []

    def find(self, pictures):
        self.searched.append(len(pictures))
        return [self._bright(picture) for picture in pictures]

    def _bright(self, picture):
        light = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) > 35).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(light)
        boxes = [tuple(int(side) for side in row[:4]) for row in stats[1:] if row[4] > SIDE * SIDE / 2]
        return [Face(box=box, score=0.5) for box in boxes]


def scene(number, emotion=HAPPY):
    """A face that walks to the right, three pixels a frame."""
    picture = np.zeros(SIZE, np.uint8)
    face = cv2.resize(draw_face(emotion, np.random.default_rng(7)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    left = 10 + 3 * number
    picture[40 : 40 + SIDE, left : left + SIDE] = face
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)


def film(path, emotions=(HAPPY,) * FRAMES):
    with VideoWriter(path, fps=FPS) as writer:
        for number, emotion in enumerate(emotions):
            writer.write(scene(number, emotion))
    return path


def predictor(model=None):
    return Predictor(model or BarModel(), faces=FaceConfig(), detector=BrightDetector())
