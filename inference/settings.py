"""Settings of predictions: how faces are found and what is made of them; standard library only, as all settings."""

from dataclasses import dataclass

from fer_hierarchy.hierarchy.config import Checked, option

DETECTORS = ("blazeface", "haar", "mtcnn", "yunet")
FORMATS = ("saved_model", "onnx", "tflite", "tflite-int8")


@dataclass(frozen=True, kw_only=True)
class FaceConfig(Checked):
    """How faces are found in a picture and cut out of it."""

    cropped: bool = option(False, "every picture is a face cut out already: search for none")
    detector: str = option("blazeface", "what finds faces; mtcnn needs pip install mtcnn", choices=DETECTORS)
    detector_model: str | None = option(None, "the model file that --detector yunet needs", metavar="FILE")
    min_face: int = option(32, "side in pixels of the smallest face to find", low=8, high=4096)
    min_score: float | None = option(
        None, "least score of a face (default: what was measured for the detector; haar has none)", low=0.01, high=0.99
    )
    faces: str = option("all", "which faces of a picture are predicted", choices=("all", "largest"))
    max_faces: int | None = option(None, "predict at most this many faces of a picture, the largest", low=1, high=10000)
    any_angle: bool = option(False, "where no face is found, turn the picture by 90, 180 and 270 degrees and try again")
    margin: float | None = option(
        None,
        "share of its side that a face's square is widened by on each side (default: what fits the detector)",
        low=-0.4,
        high=2,
    )
    align: bool = option(True, "turn faces until their eyes are level, where the detector finds the eyes")
    landmarks: bool = option(
        False, "find 468 points of each face, and by them where the head is turned to and how far eyes and mouth open"
    )
    max_yaw: float | None = option(
        None,
        "predict 'uncertain' where a face is turned further than this to a side; implies --landmarks",
        above=0,
        high=90,
        metavar="DEGREES",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_yaw is not None:
            object.__setattr__(self, "landmarks", True)


_PRIOR = "shares of the emotions where the pictures are from: a JSON or csv file of emotion and share, uniform"
_RESTING = "measure each face against the same person's at rest: the first seconds of its track, or a picture"
_COVERAGE = (
    "predict the most specific of emotion, group and any that is right for this share of faces like those of the "
    "calibration"
)
_EACH = "--coverage of each emotion by itself, also of rare ones"


@dataclass(frozen=True, kw_only=True)
class PredictConfig(Checked):
    """How pictures and videos are predicted."""

    prior: str | None = option(
        None,
        f"{_PRIOR}, or auto to estimate them from all faces of the call, at least 50 (default: those of training)",
        metavar="FILE|uniform|auto",
    )
    resting: str | None = option(None, _RESTING, metavar="SECONDS|FILE")

    abstain: float = option(0.0, "predict 'uncertain' where the likeliest emotion has less than this", low=0, high=1)
    coverage: float | None = option(None, _COVERAGE, low=0.5, high=0.99, metavar="SHARE")
    coverage_each: bool = option(False, _EACH)
    coverage_sets: str = option("lac", "what makes the sets of emotions: smallest, or adaptive", choices=("lac", "aps"))
    video_fps: float = option(5.0, "frames predicted for each second of a video; 0 for all", low=0, high=1000)
    plot: bool = option(False, "draw the emotions of each video over time, beside --out or into the current folder")
    allow_private_addresses: bool = option(
        False, "addresses of pictures may lead to this machine and to those of private networks"
    )


@dataclass(frozen=True, kw_only=True)
class WebcamConfig(Checked):
    """What the live window shows, and how predictions are smoothed."""

    source: str = option("0", "number of a camera, a video file or the address of a stream", metavar="N|FILE|URL")
    prior: str | None = option(None, f"{_PRIOR} (default: those of training)", metavar="FILE|uniform")
    resting: str | None = option(None, _RESTING, metavar="SECONDS|FILE")
    window: bool = option(True, "show a window; without one, a file is processed as fast as possible")
    every: int = option(5, "search every Nth frame for faces and follow them in between", low=1, high=1000)
    half_life: float = option(
        0.3,
        "seconds after which an earlier prediction weighs half in the smoothed one; 0 smooths nothing",
        low=0,
        high=60,
    )
    abstain: float = option(0.0, "predict 'uncertain' where the likeliest emotion has less than this", low=0, high=1)
    coverage: float | None = option(None, _COVERAGE, low=0.5, high=0.99, metavar="SHARE")
    coverage_each: bool = option(False, _EACH)


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Checked):
    """What a run is exported as, and how that is checked."""

    format: str = option("tflite", f"{', '.join(FORMATS)}, several with commas, or all", metavar="FORMAT")
