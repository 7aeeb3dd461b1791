"""Answers on the screen: a line a face for one model, a small table a face for several."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_NAME = 34  # letters of a file's name; longer ones lose their beginning
_HEADER = f"{'file':<{_NAME}}  {'face':>7}  {'box':<22}  {'emotion':<10} {'prob.':>7}  {'gate'}"


def header() -> str:
    """The first line of the table of one model."""
    return _HEADER


def face_lines(rows: Sequence[Mapping[str, Any]], gate: str, groups: Sequence[str]) -> list[str]:
    """Lines for the rows of one file.

    Args:
        rows: The file's rows.
        gate: Name of the gate's column.
        groups: Names of its groups.
    """
    return [_face_line(row, gate, groups) for row in rows]


def _face_line(row: Mapping[str, Any], gate: str, groups: Sequence[str]) -> str:
    if row["error"] or not row["faces"]:
        return f"{_short(row['file']):<{_NAME}}  {row['error'] or 'no face found'}"
    likely = max(groups, key=lambda group: row[f"gate_{group}"])
    share = _percent(row[f"gate_{likely}"])
    overruled = f" (the answer is {row[gate]})" if row[gate] != likely else ""
    return f"{_where(row)}  {row['emotion']:<10} {_percent(row['probability']):>7}  {likely} {share}{overruled}"


def _where(row: Mapping[str, Any]) -> str:
    number = f"{row['face']}/{row['faces']}"
    box = f"{row['left']},{row['top']} {row['width']}x{row['height']}"
    return f"{_short(row['file']):<{_NAME}}  {number:>7}  {box:<22}"


def side_by_side(rows: Sequence[Mapping[str, Any]], emotions: Sequence[str]) -> list[str]:
    """Lines for one face that several models have looked at: their probabilities in columns.

    Args:
        rows: One a model, of the same face.
        emotions: All that any of the models knows.
    """
    first = rows[0]
    if first["error"] or not first["faces"]:
        return [f"{_short(first['file'])}  {first['error'] or 'no face found'}", ""]
    widths = [max(9, len(row["run"])) for row in rows]
    lines = [_where(first).rstrip(), _columns("", [row["run"] for row in rows], widths)]
    for emotion in emotions:
        lines.append(_columns(emotion, [_cell(row.get(f"p_{emotion}")) for row in rows], widths))
    return [*lines, _columns("answer", [row["emotion"] for row in rows], widths), ""]


def _columns(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"  {name:<10}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _cell(value: float | None) -> str:
    return "-" if value is None else _percent(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _short(name: str) -> str:
    name = name.encode(errors="backslashreplace").decode()
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


class Summary:
    """Counts for the last line.

    Attributes:
        failed: Files that could not be read, those of earlier calls included.
    """

    def __init__(self, *, failed: int = 0) -> None:
        self.failed = failed
        self._files = self._empty = 0
        self._emotions: dict[str, Counter] = {}

    def count(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows of one file."""
        self._files += 1
        self.failed += any(row["error"] for row in rows)
        self._empty += not any(row["error"] or row["faces"] for row in rows)
        for row in rows:
            if row["emotion"] is not None:
                self._emotions.setdefault(row["run"], Counter())[row["emotion"]] += 1

    def line(self, skipped: int) -> str:
        """Files, faces and emotions in one line.

        Args:
            skipped: Files that an earlier call has done.
        """
        parts = [_count(self._files, "file")]
        for run, counts in self._emotions.items():
            told = ", ".join(f"{name} {number}" for name, number in counts.most_common())
            of = f" by {run}" if len(self._emotions) > 1 else ""
            parts.append(f"{_count(sum(counts.values()), 'face')}{of} ({told})")
        parts += [f"{_count(self._empty, 'file')} without a face"] if self._empty else []
        parts += [f"{_count(skipped, 'file')} done before"] if skipped else []
        return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
