"""What decides a face's pixels. A field's comment is its meaning, its default how it is drawn at random.

`sample` draws the fields of a class in their order, so that their order is part of what a seed gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

HAIR_STYLES = ("bald", "receding", "short", "curly", "fringe", "parted", "long")
OCCLUSIONS = ("none", "hand", "bar", "strand")

T = TypeVar("T")


def normal(rng: np.random.Generator) -> float:
    """A standard normal number without the tails that would give a monster."""
    return float(min(max(rng.standard_normal(), -2.2), 2.2))


def _drawn(draw: Callable[[np.random.Generator], Any]) -> Any:
    return field(metadata={"draw": draw})


def about(mean: float, deviation: float) -> Any:
    """A field that is drawn from a normal distribution."""
    return _drawn(lambda rng: mean + deviation * normal(rng))


def between(low: float, high: float) -> Any:
    """A field that is drawn from a uniform distribution."""
    return _drawn(lambda rng: rng.uniform(low, high))


def seed() -> Any:
    """A field that is drawn as the seed of further random numbers."""
    return _drawn(lambda rng: int(rng.integers(2**31)))


def sample(kind: type[T], rng: np.random.Generator, **given: Any) -> T:
    """Draw the fields of a dataclass in their order.

    Args:
        kind: The dataclass.
        rng: Source of the random numbers.
        given: Values of some fields, or functions that draw one when its turn comes.
    """
    values = {}
    for one in fields(kind):  # type: ignore[arg-type]  # T is a dataclass
        value = given[one.name] if one.name in given else one.metadata["draw"](rng)
        values[one.name] = value() if callable(value) else value
    return kind(**values)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What stays when one person's expression changes. Lengths are offsets or factors around an average face."""

    width: float = about(0.70, 0.055)  # half-width of the head, face coordinates
    jaw: float = between(0.1, 0.42)  # how much the face narrows towards the chin; 0 is square
    skin: float  # grey tone, 0-255
    hair: float  # grey tone
    iris: float = between(30, 95)  # grey tone
    eye_size: float = about(1.0, 0.09)  # factor
    eye_gap: float = about(1.0, 0.05)  # factor
    nose_size: float = about(1.0, 0.12)  # factor
    mouth_width: float = about(1.0, 0.09)  # factor
    lip: float = about(1.0, 0.22)  # factor
    brow_weight: float = about(1.0, 0.25)  # factor
    brow_rest: float = about(0.0, 0.025)  # resting height of the brows, positive is higher
    brow_tilt: float = about(0.0, 0.018)  # resting slope of the brows, positive is inner end lower
    mouth_rest: float = about(0.0, 0.018)  # resting curve of the mouth, positive is corners down
    lid_rest: float = about(0.0, 0.010)  # resting opening of the eyes
    asymmetry: float = about(0.0, 0.08)  # how much stronger the left half moves than the right
    age: float  # 0 (smooth) to 1 (lined)
    hair_style: str  # one of HAIR_STYLES
    hairline: float  # its height, face coordinates
    beard: float  # darkness of beard or stubble, 0 to 1
    glasses: float  # thickness of the frame in canvas pixels, 0 for none


@dataclass(frozen=True, kw_only=True)
class View:
    """Where camera and light stand, and what the camera does to the picture."""

    yaw: float = about(0.0, 0.14)  # turn of the head, radians
    pitch: float = about(0.0, 0.07)  # radians
    roll: float = about(0.0, 0.06)  # radians
    scale: float = about(1.03, 0.03)  # size of the face in the picture, factor
    shift_x: float = about(0.0, 0.02)  # face coordinates
    shift_y: float = about(0.0, 0.02)  # face coordinates
    gaze_x: float = about(0.0, 0.5)  # where the eyes turn, -1 to 1
    gaze_y: float = about(0.0, 0.4)  # -1 to 1
    blink: float = _drawn(lambda rng: rng.uniform(0.2, 0.9) if rng.random() < 0.06 else 0.0)  # fallen lids, 0 to 1
    light_x: float = about(0.0, 0.45)  # direction to the light, right
    light_y: float = about(-0.35, 0.3)  # direction to the light, down
    ambient: float = between(0.4, 0.75)  # share of light from everywhere
    gain: float = about(1.0, 0.15)  # contrast factor
    bias: float = about(0.0, 14.0)  # added grey levels
    background: float = between(20, 235)  # grey tone behind the head, 0-255
    clutter: float = between(3, 30)  # unevenness of the background in grey levels
    blur: float = between(0.0, 0.7)  # standard deviation in finished pixels
    noise: float = between(1.0, 4.5)  # grey levels
    occlusion: str  # one of OCCLUSIONS
    occlusion_place: float = between(0.0, 1.0)  # where along its range the occlusion stands
    texture: int = seed()  # of background, pixel noise and strands


@dataclass(frozen=True, kw_only=True)
class FaceParameters:
    """Everything that decides a face's pixels.

    Attributes:
        emotion: Canonical emotion that the units were drawn for.
        units: FACS action unit number -> activation, 0 (absent) to about 1; absent numbers are 0.
        identity: The person.
        view: Camera, light and occlusion.
    """

    emotion: str
    units: Mapping[int, float]
    identity: Identity
    view: View

    def unit(self, number: int) -> float:
        """Activation of one action unit."""
        return self.units.get(number, 0.0)
