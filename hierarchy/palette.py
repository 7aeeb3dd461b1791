"""The colour of each emotion wherever one is drawn; light, since pictures are marked without matplotlib."""

import zlib

# Okabe and Ito's colour-blind-safe set (2008) without yellow and black, which vanish or shout on white; two greys.
EMOTION_COLOURS = {
    "angry": "#d55e00",
    "disgust": "#009e73",
    "fear": "#cc79a7",
    "happy": "#e69f00",
    "sad": "#0072b2",
    "surprise": "#56b4e9",
    "neutral": "#a0a6ac",
    "contempt": "#4a4f55",
}
# Of a user's own classes: Tol's bright and muted sets (2021).
_OTHERS = ("#4477aa", "#aa3377", "#228833", "#ccbb44", "#882255", "#44aa99", "#999933", "#332288")
_taken: dict[int, str] = {}


def class_place(name: str) -> int:
    """Where a class stands among all colours: an emotion in its order, then a user's own classes.

    A name sets the place of an own class, and up to eight have different ones.
    """
    if name in EMOTION_COLOURS:
        return list(EMOTION_COLOURS).index(name)
    wanted = zlib.crc32(name.encode())
    places = [(wanted + step) % len(_OTHERS) for step in range(len(_OTHERS))]
    return len(EMOTION_COLOURS) + next((at for at in places if _taken.setdefault(at, name) == name), places[0])


def class_colour(name: str) -> str:
    """The colour of an emotion or of a user's own class."""
    return (*EMOTION_COLOURS.values(), *_OTHERS)[class_place(name)]
