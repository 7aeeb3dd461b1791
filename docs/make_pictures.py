"""The group photograph of the README and the documentation, with the levelled faces and their predictions below it.

It needs scikit-image for its portrait of Eileen Collins (NASA); that of Grace Hopper (United States Navy) comes with
matplotlib. Both are in the public domain. The group is composed of them, at several sizes and angles.

python docs/make_pictures.py
"""

import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
import skimage.data
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fer_hierarchy import Predictor
from fer_hierarchy.inference.output.drawing import annotated, save_picture

GROUP = Path(__file__).parent / "images" / "group.jpg"
# (portrait, height, degrees, left, top)
_PLACES = (
    ("collins", 560, 0, 20, 30),
    ("hopper", 420, -25, 720, 10),
    ("collins", 330, 35, 1150, 20),
    ("hopper", 250, 12, 1000, 400),
    ("collins", 230, -15, 1310, 390),
)


def group() -> np.ndarray:
    """The composed photograph, uint8 (height, width, 3)."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        portraits = {"hopper": Image.open(file).convert("RGB"), "collins": Image.fromarray(skimage.data.astronaut())}
    canvas = Image.new("RGB", (1620, 680), (236, 236, 232))
    for name, height, degrees, left, top in _PLACES:
        portrait = portraits[name]
        small = portrait.resize((round(portrait.width * height / portrait.height), height), Image.Resampling.LANCZOS)
        turned = small.convert("RGBA").rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True)
        canvas.paste(turned, (left, top), turned)
    return np.asarray(canvas)


def strip(crops: list[np.ndarray], records: list[dict], width: int) -> np.ndarray:
    """The levelled faces, each with the predictions of gate and specialist: uint8 (height, width, 3)."""
    figure = Figure(figsize=(width / 100, 2.7), dpi=100, layout="constrained")
    for axes, face, row in zip(figure.subplots(1, len(crops)), crops, records, strict=True):
        axes.imshow(Image.fromarray(face).convert("L").resize((48, 48), Image.Resampling.BOX), cmap="gray")
        axes.set_axis_off()
        gate = f"{row['route']} {row['gate_' + row['route']]:.0%}"
        axes.set_title(f"{gate}\n{row['emotion']} {row['probability']:.0%}", fontsize=13, color="#1f2933")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def main() -> None:
    """Write the picture."""
    picture, predictor = group(), Predictor.load()
    records = predictor.predict(picture, records=True)
    (faces,) = predictor.find([picture])
    below = strip(predictor.crops(picture, faces), records, picture.shape[1])
    save_picture(GROUP, np.concatenate([annotated(picture, records), below]))


if __name__ == "__main__":
    main()
