"""What `Predictor.predict` takes, one by one: arrays, Pillow's images, bytes, paths, patterns, addresses."""

import glob
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer_hierarchy.hierarchy.data.decoding import decode_image, image_pixels
from fer_hierarchy.inference.sources.inputs import Item, find_items, is_address

_ALONE = (str, Path, bytes, bytearray, memoryview, Image.Image)


@dataclass(frozen=True, eq=False)
class Content:
    """A picture in memory, which `Item` is on a disk or behind an address.

    Attributes:
        picture: uint8 (height, width) or (height, width, 3) RGB; or what Pillow opened; or the content of a file.
        name: What rows call it: None.
        address: None.
    """

    picture: np.ndarray | Image.Image | bytes
    name: None = None
    address: None = None

    def pixels(self) -> np.ndarray:
        """See `Item.pixels`."""
        if isinstance(self.picture, np.ndarray):
            return self.picture
        return image_pixels(self.picture) if isinstance(self.picture, Image.Image) else decode_image(self.picture)


def pictures_of(images: Any, *, allow_private: bool = False) -> list[Item | Content]:
    """The pictures that a user gives, in their order.

    Args:
        images: As `Predictor.predict` takes them.
        allow_private: Whether addresses may be those of a private network.

    Raises:
        ValueError: An array of another shape or type.
        UserError: A pattern or a folder without pictures.
    """
    pictures: list[Item | Content] = []
    for image in _each(images):
        pictures += _found(image, len(pictures), allow_private)
    return pictures


def is_array(picture: Item | Content) -> bool:
    """Whether a user gave a picture as pixels, which cannot fail to be read."""
    return isinstance(picture, Content) and isinstance(picture.picture, np.ndarray)


def is_one(images: Any) -> bool:
    """Whether a user gives one picture by itself, and not several."""
    if isinstance(images, str | Path):
        return is_address(str(images)) or not (os.path.isdir(images) or _is_pattern(str(images)))  # noqa: PTH112 - any text
    return isinstance(images, _ALONE) or (isinstance(images, np.ndarray) and _is_picture(images))


def _each(images: Any) -> Iterable[Any]:
    return [images] if isinstance(images, _ALONE) or is_one(images) else images


def _found(image: Any, position: int, allow_private: bool) -> Iterator[Item | Content]:
    if isinstance(image, str | Path):
        yield from _named(str(image), allow_private)
    elif isinstance(image, bytes | bytearray | memoryview):
        yield Content(bytes(image))
    else:
        yield Content(image if isinstance(image, Image.Image) else _checked(np.asarray(image), position))


def _named(word: str, allow_private: bool) -> Iterator[Item]:
    if is_address(word):
        yield Item.at(word, allow_private=allow_private)
    elif is_one(word):
        yield Item(word, Path(word).name)
    else:
        yield from find_items([word], io.BytesIO())


def _is_pattern(word: str) -> bool:
    return glob.has_magic(word) and not os.path.exists(word)  # noqa: PTH110 - no error for any text


def _checked(picture: np.ndarray, position: int) -> np.ndarray:
    """(height, width) where an array has one or two channels, (height, width, 3) where it has more.

    Raises:
        ValueError: It is no picture.
    """
    if picture.dtype != np.uint8 or not _is_picture(picture) or not picture.size:
        raise ValueError(
            f"image {position}: got shape {picture.shape}, {picture.dtype}{_range_of(picture)}; "
            "right is uint8 (height, width) or (height, width, channels) with 1 to 4 channels"
        )
    if picture.ndim == 2:
        return picture
    return np.ascontiguousarray(picture[..., :3] if picture.shape[-1] > 2 else picture[..., 0])


def _range_of(picture: np.ndarray) -> str:
    """The range of numbers that are no bytes, and how they would become such."""
    if not (np.issubdtype(picture.dtype, np.floating) and _is_picture(picture) and picture.size):
        return ""
    least, most = float(picture.min()), float(picture.max())
    whole = "(255 * image)" if most <= 1 else "image"
    hint = f" (perhaps {whole}.round().astype('uint8') is meant)" if least >= 0 and most < 256 else ""
    return f" from {least:.3g} to {most:.3g}{hint}"


def _is_picture(array: np.ndarray) -> bool:
    return array.ndim == 2 or (array.ndim == 3 and 1 <= array.shape[-1] <= 4)
