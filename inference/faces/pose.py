"""Where a head is turned to, and how far its eyes and its mouth are open, by the 468 points of its face."""

import math

import cv2
import numpy as np

MEASURES = ("yaw", "pitch", "roll", "right_eye", "left_eye", "mouth")

# Points that no expression moves: outer and inner corners of both eyes, the bridge of the nose from between the eyes
# to the tip, the nostrils, and the middle below them.
_RIGID = [33, 133, 263, 362, 168, 6, 197, 4, 98, 327, 2]
# Where these are on a face that is turned to the camera, in distances between the outer corners of the eyes: to the
# picture's right, down, away from the camera. Medians of what the network finds on 412 FER-2013 training faces (of 479,
# enlarged four times, those that are a face to it at 90 % and more), turned until they lie on another, made symmetric.
_HEAD = np.array(
    [
        [-0.500, -0.188, 0.179],
        [-0.194, -0.163, 0.119],
        [0.500, -0.188, 0.179],
        [0.194, -0.163, 0.119],
        [0.000, -0.215, -0.054],
        [0.000, -0.120, -0.093],
        [0.000, -0.040, -0.143],
        [0.000, 0.198, -0.266],
        [-0.184, 0.284, 0.014],
        [0.184, 0.284, 0.014],
        [0.000, 0.312, -0.068],
    ]
)
_FOCAL = 8.0  # in the same unit: a camera that is 0.7 m away from eyes whose outer corners are 9 cm apart
# Corners, then pairs of upper and lower lid, as the eye aspect ratio has them.
_RIGHT_EYE = ((33, 133), ((160, 144), (158, 153)))
_LEFT_EYE = ((263, 362), ((387, 373), (385, 380)))
_MOUTH = ((78, 308), ((13, 14),))  # of the lips' inner border

Opening = tuple[tuple[int, int], tuple[tuple[int, int], ...]]


def measures(mesh: np.ndarray) -> dict[str, float]:
    """Measure a face.

    Args:
        mesh: (468, 3) as `inference.faces.landmarks.FaceMesh` finds them.

    Returns:
        By the names of `MEASURES`: yaw, pitch, roll as `head_pose` gives them; how far each of the person's eyes and
        the mouth are open, as a share of their width, measured in space, so that a turned head changes little. For
        eyes it is the ratio of Soukupova and Cech, "Real-time eye blink detection using facial landmarks", 2016.

    Examples:
        >>> import numpy as np
        >>> sorted(measures(np.random.default_rng(0).normal(size=(468, 3))))
        ['left_eye', 'mouth', 'pitch', 'right_eye', 'roll', 'yaw']
    """
    openings = (_opening(mesh, *part) for part in (_RIGHT_EYE, _LEFT_EYE, _MOUTH))
    return dict(zip(MEASURES, (*head_pose(mesh), *openings), strict=True))


def head_pose(mesh: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, against the line from the camera to the face.

    Yaw grows to the right of the picture, pitch upwards, roll clockwise in the picture; all are 0 for a face that is
    turned to the camera as FER-2013's are in the median. Turning the picture changes roll alone.

    Args:
        mesh: As for `measures`.
    """
    (across, _, _), (down, _, _), (depth, tilt, front) = _turn(mesh).tolist()  # roll, after yaw, after pitch
    yaw, pitch, roll = math.asin(min(max(depth, -1.0), 1.0)), -math.atan2(tilt, front), math.atan2(down, across)
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def facing(mesh: np.ndarray) -> np.ndarray:
    """(2,) where a face looks, right and down in the picture: 0 to the camera, of length 1 to a side."""
    return -_turn(mesh)[:2, 2]


def _turn(mesh: np.ndarray) -> np.ndarray:
    """(3, 3) rotation that turns `_HEAD` as the face is turned."""
    places = mesh[_RIGID, :2].astype(np.float64)
    focal = _FOCAL * np.linalg.norm(mesh[_RIGID[0]] - mesh[_RIGID[2]])
    column, row = places.mean(axis=0)
    camera = np.array([[focal, 0, column], [0, focal, row], [0, 0, 1]])
    _, turn, _ = cv2.solvePnP(_HEAD, places, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    return cv2.Rodrigues(turn)[0]


def _opening(mesh: np.ndarray, corners: tuple[int, int], lids: tuple[tuple[int, int], ...]) -> float:
    """The mean distance between pairs of points, as a share of that between the corners."""
    open_ = np.mean([np.linalg.norm(mesh[upper] - mesh[lower]) for upper, lower in lids])
    return float(open_ / np.linalg.norm(mesh[corners[0]] - mesh[corners[1]]))
