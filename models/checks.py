"""Checks that many builders make of their settings."""

from collections.abc import Sequence

KERNEL_SIZES = (3, 5)  # of builders that take one for many convolutions

_CHANNELS = (1, 3)


def check_shares(**shares: float | Sequence[float]) -> None:
    """Check settings that are a share of something, such as dropout, one number or several.

    Raises:
        ValueError: One lies outside [0, 1).
    """
    for name, given in shares.items():
        if not all(0 <= share < 1 for share in _several(given)):
            raise ValueError(f"{name} is {given!r}; it must lie in [0, 1)")


def check_counts(**counts: int | Sequence[int]) -> None:
    """Check settings that count something, such as channels, one number or several.

    Raises:
        ValueError: One is less than 1.
    """
    for name, given in counts.items():
        if not all(count >= 1 for count in _several(given)):
            raise ValueError(f"{name} is {given!r}; it must be 1 or more")


def check_positive(**numbers: float) -> None:
    """Check settings that multiply something.

    Raises:
        ValueError: One is not above 0.
    """
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} is {number!r}; it must be above 0")


def check_stages(*, most: int | None = None, **settings: Sequence[float]) -> None:
    """Check that settings have one entry for each stage of a network.

    Raises:
        ValueError: They have none, more than `most`, or not equally many.
    """
    lengths = {name: len(values) for name, values in settings.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"{listed} entries; each needs one entry for each stage")
    stages = next(iter(lengths.values()))
    if stages < 1 or (most is not None and stages > most):
        name, values = next(iter(settings.items()))
        raise ValueError(f"{name} is {values!r}; it must have 1 {f'to {most}' if most else 'or more'} entries")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Check a setting that names one of a few possibilities.

    Raises:
        ValueError: It names none of them.
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(map(str, choices))}")


def checked_request(
    name: str, shape: object, num_classes: object, *, smallest: int, channels: Sequence[int] | None = _CHANNELS
) -> tuple[int, int, int]:
    """The input shape as a tuple, after the checks of what every model is asked for.

    Args:
        name: What errors call the model.
        shape: (height, width, channels) in pixels.
        num_classes: Number of logits.
        smallest: Least height and width that the model works with.
        channels: Channel counts that it takes; None for any.

    Raises:
        ValueError: It is no such shape, or fewer than two classes.
    """
    fits = (
        isinstance(shape, list | tuple)
        and len(shape) == 3
        and all(_is_whole(size) for size in shape)
        and min(shape[:2]) >= smallest
        and (shape[2] >= 1 if channels is None else shape[2] in channels)
    )
    if not fits:
        counts = "1 or more" if channels is None else " or ".join(map(str, channels))
        raise ValueError(
            f"input_shape is {shape!r}; {name} needs (height, width, channels) of at least {smallest}x{smallest} "
            f"pixels and {counts} channels"
        )
    if not _is_whole(num_classes) or num_classes < 2:
        raise ValueError(f"num_classes is {num_classes!r}; {name} needs a whole number of 2 or more")
    return tuple(shape)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _several(given: float | Sequence[float]) -> Sequence[float]:
    return given if isinstance(given, Sequence) else (given,)
