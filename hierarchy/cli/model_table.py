"""The models by name: input, parameters, multiply-adds, pretrained weights, source."""

import pandas as pd

from fer_hierarchy.models.cost import planned_cost
from fer_hierarchy.models.registry import list_models, model_info

_HEADINGS = {
    "name": "name",
    "input": "input",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "pretrained": "weights",
    "source": "source",
}
_NUMBERS = ("parameters", "multiply_adds")
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def model_table(*, num_classes: int = 7, channels: int = 1) -> pd.DataFrame:
    """One row for each registered model at its own size, in order of names; takes about two seconds.

    Args:
        num_classes: Number of logits.
        channels: 1 for grey pictures, 3 for colour; a model that takes other planes has its own default.

    Returns:
        Columns name; input, such as 48x48x1; parameters and multiply_adds of one picture, counts; pretrained, a
        tuple of names of weights that the model can start from; source.
    """
    rows = []
    for info in map(model_info, list_models()):
        shape = (info.size, info.size, channels if channels in info.channels else info.channels[0])
        cost = planned_cost(info.name, input_shape=shape, num_classes=num_classes)
        rows.append(
            {
                "name": info.name,
                "input": "x".join(map(str, shape)),
                "parameters": cost.parameters,
                "multiply_adds": cost.multiply_adds,
                "pretrained": info.pretrained,
                "source": info.source,
            }
        )
    return pd.DataFrame(rows, columns=list(_HEADINGS))


def models_text(table: pd.DataFrame) -> str:
    """The rows of `model_table` as aligned lines under their headings."""
    shown = table.assign(
        **{column: table[column].map(short_count) for column in _NUMBERS},
        pretrained=table["pretrained"].map(lambda names: ", ".join(names) or "none"),
    )
    columns = [[heading, *shown[column]] for column, heading in _HEADINGS.items()]
    aligned = [_aligned(cells, right=column in _NUMBERS) for column, cells in zip(_HEADINGS, columns, strict=True)]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*aligned, strict=True))


def _aligned(cells: list[str], *, right: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) if right else cell.ljust(width) for cell in cells]


def short_count(count: int) -> str:
    """A count in three digits: 888 k, 2.40 M, 17.6 G."""
    for size, unit in _UNITS:
        # What rounds up to a thousand of the next smaller unit belongs here.
        if count >= 0.9995 * size:
            value = count / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return str(count)


def print_models() -> None:
    """Print every model, and how to name one with other settings."""
    print(models_text(model_table()))
    print("\nAny model takes grey or colour pictures, and its own settings as NAME:key=value:key=value.")
    print("rgbd_fusion takes colour (4 planes) or grey pictures (2) with their depth as the last plane.")
