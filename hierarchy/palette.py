"""The colour of each emotion wherever one is drawn; light, since pictures are marked without matplotlib."""

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
