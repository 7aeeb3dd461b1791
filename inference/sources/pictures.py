"""Pictures to faces, a chunk of files at a time: read, searched together, cut; the next while one is predicted."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.sources.given import Content
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.timings import Timings

if TYPE_CHECKING:
    from fer_hierarchy.inference.predictor import Predictor

T = TypeVar("T")
Source = TypeVar("Source", Item, Item | Content)

_FILES, _FACES = 64, 256  # pictures that are searched together, and faces that need no search
_PIXELS = 40_000_000  # of all pictures that are in memory at once, about
_PATIENCE = 3.0  # seconds after which what came from addresses so far is searched
_READERS = 4
_SMALL = 128 * 128  # pixels up to which reading spends its time inside the interpreter, one thread at a time


@dataclass(frozen=True, kw_only=True)
class SearchedPicture(Generic[Source]):
    """A picture that was searched for faces.

    Attributes:
        item: Where it came from.
        crops: For each predictor, the faces cut out.
        picture: uint8 (h, w) or (h, w, 3) RGB; None where it could not be read or is not needed any more.
        faces: Those found, largest first.
        error: Why it could not be read; "" where it could.
    """

    item: Source
    crops: Sequence[Sequence[np.ndarray]]
    picture: np.ndarray | None = None
    faces: Sequence[Face] = ()
    error: str = ""


def searched_pictures(
    items: Sequence[Source], predictors: "Sequence[Predictor]", *, keep: bool
) -> Iterator[list[SearchedPicture[Source]]]:
    """Search pictures for faces in chunks, the next chunk in a thread of its own while the caller works on one.

    Args:
        items: Pictures, no videos.
        predictors: Their first finds the faces of all.
        keep: Whether the caller needs the pictures themselves.
    """
    chunks = _chunks(items, predictors[0].timings, alone=predictors[0].detector is None)
    yield from _ahead(_search(chunk, predictors, keep=keep) for chunk in chunks)


def _ahead(made: Iterator[T]) -> Iterator[T]:
    """The same, with the next one in the making."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(next, made, None)
        while (one := coming.result()) is not None:
            coming = worker.submit(next, made, None)
            yield one


def _chunks(
    items: Sequence[Source], timings: Timings, *, alone: bool
) -> Iterator[list[tuple[Source, np.ndarray | str]]]:
    """Read pictures until there are many, they are large or slow to come; with each its pixels or what is wrong."""
    most, chunk, pixels, began = _FACES if alone else _FILES, [], 0, time.monotonic()
    for item, content in _read_all(items, timings):
        chunk.append((item, content))
        pixels += 0 if isinstance(content, str) else content.shape[0] * content.shape[1]
        slow = item.address is not None and time.monotonic() - began > _PATIENCE
        if len(chunk) == most or pixels > _PIXELS or slow:
            yield chunk
            chunk, pixels, began = [], 0, time.monotonic()
    if chunk:
        yield chunk


def _read_all(items: Sequence[Source], timings: Timings) -> Iterator[tuple[Source, np.ndarray | str]]:
    """Each picture's pixels or what is wrong with it; large and remote ones are read by several threads."""
    left = iter(items)
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        large = False
        while some := list(islice(left, _READERS)):
            apply: Callable = pool.map if large or some[-1].address is not None else map
            with timings.part("reading"):
                contents = list(apply(_read, some))
            large = any(not isinstance(one, str) and one.shape[0] * one.shape[1] > _SMALL for one in contents)
            yield from zip(some, contents, strict=True)


def _read(item: Item | Content) -> np.ndarray | str:
    try:
        return item.pixels()
    except BadImageError as error:
        return str(error)


def _search(
    chunk: Sequence[tuple[Source, np.ndarray | str]], predictors: "Sequence[Predictor]", *, keep: bool
) -> list[SearchedPicture[Source]]:
    """Search the pictures of a chunk together and cut out the faces."""
    found = iter(predictors[0].find([content for _, content in chunk if not isinstance(content, str)]))
    searched = []
    for item, content in chunk:
        if isinstance(content, str):
            searched.append(SearchedPicture(item=item, crops=[[] for _ in predictors], error=content))
            continue
        faces = predictors[0].with_landmarks(content, next(found))
        crops = [predictor.crops(content, faces) for predictor in predictors]
        searched.append(SearchedPicture(item=item, crops=crops, picture=content if keep else None, faces=faces))
    return searched
