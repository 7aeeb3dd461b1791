"""Predictions on the screen: a line a face for one model, a small table a face for several."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_hierarchy.hierarchy.printing import printable
from fer_hierarchy.hierarchy.wording import DATA_NAMES, percent
from fer_hierarchy.inference.output.records import Row

if TYPE_CHECKING:
    from fer_hierarchy.inference.predictor import Predictor

_NAME = 34  # letters of a file's name; longer ones lose their beginning
_HEADER = f"{'file':<{_NAME}}  {'face':>7}  {'box':<22}  {'emotion':<10} {'prob.':>7}  {'gate'}"


def header(*, guaranteed: bool = False) -> str:
    """The first line of the table of one model."""
    return _HEADER.replace("gate", "guaranteed") if guaranteed else _HEADER


def lines(rows: Sequence[Row], predictors: "Sequence[Predictor]") -> list[str]:
    """The lines of one file.

    Args:
        rows: All of the file, see `inference.output.records.rows_of_file`.
        predictors: The models.
    """
    if len(predictors) == 1:
        taxonomy, guaranteed = predictors[0].facts.taxonomy, guaranteed_words(predictors[0])
        return [_face_line(row, taxonomy.gate, taxonomy.group_names, guaranteed) for row in rows]
    count = len(predictors)
    emotions = list(dict.fromkeys(name for predictor in predictors for name in predictor.facts.taxonomy.emotions))
    faces = [rows[start : start + count] for start in range(0, len(rows), count)]
    return [line for face in faces for line in _side_by_side(face, emotions)]


def guaranteed_words(predictor: "Predictor") -> str:
    """What is guaranteed of a prediction, such as `90 % guaranteed on faces like FER-2013's`; "" for nothing."""
    promise, guarantee = predictor.promise, predictor.facts.guarantee
    if promise is None or guarantee is None:
        return ""
    share = f"{100 * promise.coverage:g} % {'of each emotion ' if promise.each else ''}guaranteed"
    if predictor.facts.synthetic:
        return f"{share} on SYNTHETIC faces"
    return f"{share} on faces like {DATA_NAMES.get(guarantee.data, guarantee.data)}'s"


def _face_line(row: Row, gate: str, groups: Sequence[str], guaranteed: str) -> str:
    if row["error"] or not row["faces"]:
        return f"{_short(row['file']):<{_NAME}}  {row['error'] or 'no face found'}"
    line = f"{_where(row)}  {row['emotion']:<10} {percent(row['probability']):>7}"
    decision = f"{row['answer']} ({guaranteed})" if guaranteed else _gate_words(row, gate, groups)
    return "  ".join([line, decision, *_pose(row), *([row["reason"]] if row["reason"] else [])])


def _gate_words(row: Row, gate: str, groups: Sequence[str]) -> str:
    """What the gate prefers, and the emotion's group where that is another."""
    likely = max(groups, key=lambda group: row[f"gate_{group}"])
    overruled = f" (the emotion is {row[gate]})" if row[gate] != likely else ""
    return f"{likely} {percent(row[f'gate_{likely}'])}{overruled}"


def _pose(row: Row) -> list[str]:
    """Where a head is turned to, in degrees, where that was measured."""
    angles = {name: row.get(name) for name in ("yaw", "pitch", "roll")}
    return [f"{name} {angle:.0f}" for name, angle in angles.items() if angle is not None]


def _where(row: Row) -> str:
    number = f"{row['face']}/{row['faces']}"
    box = f"{row['left']},{row['top']} {row['width']}x{row['height']}"
    return f"{_short(row['file']):<{_NAME}}  {number:>7}  {box:<22}"


def _side_by_side(rows: Sequence[Row], emotions: Sequence[str]) -> list[str]:
    """Lines for one face that several models have predicted: their probabilities in columns."""
    first = rows[0]
    if first["error"] or not first["faces"]:
        return [f"{_short(first['file'])}  {first['error'] or 'no face found'}", ""]
    widths = [max(9, len(row["run"])) for row in rows]
    table = [_where(first).rstrip(), _columns("", [row["run"] for row in rows], widths)]
    for emotion in emotions:
        table.append(_columns(emotion, [percent(row.get(f"p_{emotion}")) for row in rows], widths))
    return [*table, _columns("emotion", [row["emotion"] for row in rows], widths), ""]


def _columns(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"  {name:<10}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


class Summary:
    """Counts for the last line.

    Attributes:
        failed: Files that could not be read, those of earlier calls included.
    """

    def __init__(self, *, failed: int = 0) -> None:
        self.failed = failed
        self._files = self._empty = 0
        self._emotions: dict[tuple[str, bool], Counter] = {}  # by run, of pictures and of films
        self._tracks: set[tuple[str, int]] = set()

    def count(self, rows: Sequence[Row]) -> None:
        """Add the rows of one file."""
        self._files += 1
        self.failed += any(row["error"] for row in rows)
        self._empty += not any(row["error"] or row["faces"] for row in rows)
        for row in rows:
            if row["emotion"] is not None:
                filmed = row["track"] is not None
                self._emotions.setdefault((row["run"], filmed), Counter())[row["emotion"]] += 1
                if filmed:
                    self._tracks.add((row["file"], row["track"]))

    def line(self, skipped: int) -> str:
        """Files, faces and emotions in one line.

        Args:
            skipped: Files that an earlier call has done.
        """
        parts = [counted(self._files, "file")]
        several = len({run for run, _ in self._emotions}) > 1
        for (run, filmed), counts in self._emotions.items():
            named = ", ".join(f"{name} {number}" for name, number in counts.most_common())
            faces = counted(sum(counts.values()), "sample" if filmed else "face")
            faces += f" of {counted(len(self._tracks), 'track')}" * filmed
            parts.append(f"{faces}{f' by {run}' * several} ({named})")
        parts += [f"{counted(self._empty, 'file')} without a face"] if self._empty else []
        parts += [f"{counted(skipped, 'file')} done before"] if skipped else []
        return "; ".join(parts)


def counted(number: int, noun: str) -> str:
    """`1 face`, `2 faces`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
