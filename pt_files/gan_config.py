"""How generated faces are made: defaults, limits and help texts. Standard library only, for the command line."""

from dataclasses import dataclass

from fer_hierarchy.hierarchy.config import option

STEPS = 3000  # training steps where no number of epochs is given
SIZE = 48  # side in pixels where none is given: FER-2013's
SIDE_STEP = 16  # the network draws sides that are a multiple of this


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """Settings of the generator and of its training."""

    count: int = option(2000, "faces to write", low=1, high=99_999)
    epochs: int | None = option(None, f"passes over the train faces (default: about {STEPS} steps)", low=1)
    batch_size: int = option(64, "faces in a training step", low=4)
    width: int = option(32, "maps next to the image; the deepest layers have eight times as many", low=4, high=256)
