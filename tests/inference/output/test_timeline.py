from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.inference.output.timeline import draw_timeline

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])


def rows(track, times, *, emotion="happy", share=0.7):
    made = []
    for time in times:
        p = {name: share if name == emotion else (1 - share) / 6 for name in SEVEN.emotions}
        gate = {f"gate_{group}": sum(p[name] for name in SEVEN.members(group)) for group in SEVEN.group_names}
        made.append({"time": float(time), "track": track, **{f"p_{name}": value for name, value in p.items()}, **gate})
    return made


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn last: the settings of the figure and its axes."""
    kept = {}
    real = figures.drawing

    @contextmanager
    def spy(path, **settings):
        with real(path, **settings) as axes:
            kept.update(settings, axes=axes[:, 0])
            yield axes

    monkeypatch.setattr(figures, "drawing", spy)
    return kept


def draw(path, table, *, frames=100, seconds=20.0, synthetic=False, taxonomy=SEVEN):
    draw_timeline(path, table, taxonomy, name="a.mp4", frames=frames, seconds=seconds, synthetic=synthetic)
    with Image.open(path) as picture:
        return picture.size


def bands(ax, low, high):
    """(start, end) of everything filled between two heights."""
    boxes = [path.get_extents() for collection in ax.collections for path in collection.get_paths()]
    return sorted({(round(b.x0, 3), round(b.x1, 3)) for b in boxes if b.y0 >= low and b.y1 <= high and b.width})


@pytest.mark.usefixtures("rendered")
def test_a_face_a_panel_with_its_presence_and_answer(tmp_path, drawn):
    every = np.arange(0, 20, 0.2)
    size = draw(tmp_path / "a.png", [*rows(1, every), *rows(2, every[:25], emotion="sad", share=0.9)], synthetic=True)
    assert size[0] > 1000
    assert drawn["title"] == "a.mp4: emotions over time, 100 frames"
    assert drawn["synthetic"] is True
    assert [ax.get_title(loc="left") for ax in drawn["axes"]] == [
        "face 1: in 100 % of the frames, most of all happy (70 %)",
        "face 2: in 25 % of the frames, most of all sad (90 %)",
    ]
    assert drawn["axes"][1].get_xlabel() == "time (m:ss)"


@pytest.mark.usefixtures("rendered")
@pytest.mark.parametrize("name", ["$\\frac$.mp4", "a\udcff\x1b\n.mp4"])
def test_any_name_is_drawn(tmp_path, name):
    draw_timeline(
        tmp_path / "a.png", rows(1, np.arange(0, 20, 0.2)), SEVEN, name=name, frames=100, seconds=20.0, synthetic=False
    )
    assert (tmp_path / "a.png").is_file()


def test_four_faces_are_shown_and_the_others_counted(tmp_path, drawn):
    every = np.arange(0, 20, 0.2)
    counts = {1: 30, 2: 3, 3: 90, 4: 50, 5: 2, 6: 70}
    table = pd.DataFrame([row for track, count in counts.items() for row in rows(track, every[:count])])
    draw(tmp_path / "a.png", table)
    assert [ax.get_title(loc="left").split(":")[0] for ax in drawn["axes"]] == ["face 1", "face 3", "face 4", "face 6"]
    assert "2 more faces" in drawn["axes"][-1].get_xlabel()


def test_where_a_face_is_not_seen_there_is_a_gap(tmp_path, drawn):
    times = np.concatenate([np.arange(0, 5, 0.2), np.arange(8, 20, 0.2)])
    draw(tmp_path / "a.png", rows(1, times))
    strip = bands(drawn["axes"][0], -1, 0)
    assert len(strip) == 2
    assert strip[0][1] == pytest.approx(4.9, abs=0.01)  # the last frame, and half an interval
    assert strip[1][0] == pytest.approx(7.9, abs=0.01)


def test_one_missed_frame_is_no_gap(tmp_path, drawn):
    draw(tmp_path / "a.png", rows(1, np.delete(np.arange(0, 20, 0.2), 30)))
    assert len(bands(drawn["axes"][0], -1, 0)) == 1


def test_a_face_that_is_seen_once_is_seen(tmp_path, drawn):
    draw(tmp_path / "a.png", [*rows(1, np.arange(0, 20, 0.2)), *rows(2, [4.0])])
    assert bands(drawn["axes"][1], -1, 0) == [(3.9, 4.1)]


def test_the_strip_changes_with_the_gates_group(tmp_path, drawn):
    table = [*rows(1, np.arange(0, 10, 0.2)), *rows(1, np.arange(10, 20, 0.2), emotion="sad")]
    draw(tmp_path / "a.png", table)
    first, second = bands(drawn["axes"][0], -1, 0)
    assert first[1] == second[0] == pytest.approx(9.9)


@pytest.mark.parametrize(
    ("seconds", "first"), [(3.0, ["0:00.0", "0:00.5"]), (42.0, ["0:00", "0:05"]), (600.0, ["0:00", "1:00"])]
)
def test_times_are_told_as_people_tell_them(tmp_path, drawn, seconds, first):
    draw(tmp_path / "a.png", rows(1, np.arange(0, seconds, seconds / 50)), seconds=seconds)
    ax = drawn["axes"][-1]
    ticks = [tick for tick in ax.get_xticks() if tick >= 0]
    assert [ax.xaxis.get_major_formatter()(tick, 0) for tick in ticks][:2] == first
    assert len([tick for tick in ticks if tick <= seconds]) <= 11


def test_a_long_video_is_drawn_in_means_and_says_so(tmp_path, drawn):
    draw(tmp_path / "a.png", rows(1, np.arange(0, 600, 0.04)), frames=15_000, seconds=600.0)
    assert "each point is the mean of 1.2 s" in drawn["axes"][-1].get_xlabel()
    longest = max(len(path.vertices) for c in drawn["axes"][0].collections for path in c.get_paths())
    assert longest < 1100
    draw(tmp_path / "b.png", rows(1, np.arange(0, 20, 0.2)))
    assert "mean" not in drawn["axes"][-1].get_xlabel()


@pytest.mark.parametrize("table", [[], [{"time": 0.0, "track": None}]])
def test_a_video_without_a_face_says_so(tmp_path, drawn, table):
    draw(tmp_path / "a.png", table)
    assert [text.get_text() for text in drawn["axes"][0].texts] == ["no face was found"]


def test_frames_without_a_face_are_left_out(tmp_path, drawn):
    table = [*rows(3, np.arange(0, 10, 0.2)), {"time": 15.0, "track": None}]
    draw(tmp_path / "a.png", table)
    assert drawn["axes"][0].get_title(loc="left").startswith("face 3: in 50 %")


def test_other_groupings_are_drawn_by_their_own_words(tmp_path, drawn):
    taxonomy = TAXONOMIES["valence-neutral-apart"].exclude(["contempt"])
    table = [{**row, "gate_neutral": row["p_neutral"]} for row in rows(1, np.arange(0, 20, 0.2))]
    draw(tmp_path / "a.png", table, taxonomy=taxonomy)
    told = [text.get_text() for text in drawn["axes"][0].get_legend().get_texts()]
    assert told[-3:] == ["positive", "neutral", "negative"]
    assert drawn["axes"][0].get_yticklabels()[0].get_text() == "valence"


@pytest.mark.usefixtures("rendered")
def test_the_face_at_rest_is_marked_where_others_are_measured_against_it(tmp_path, drawn):
    times = np.arange(0, 20, 0.2)
    marks = ["at rest" if time < 3 else "measured" for time in times]
    draw(tmp_path / "a.png", [row | {"resting": mark} for row, mark in zip(rows(1, times), marks, strict=True)])
    (ax,) = drawn["axes"]
    (span,) = [patch for patch in ax.patches if patch.get_hatch()]
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((-0.1, 2.9))
    assert [text.get_text().strip() for text in ax.texts] == ["at rest, taken as neutral"]
    draw(tmp_path / "b.png", rows(1, times))
    assert not [patch for patch in drawn["axes"][0].patches if patch.get_hatch()]


@pytest.mark.usefixtures("rendered")
def test_times_without_a_guaranteed_emotion_are_covered_by_the_group_or_hatched(tmp_path, drawn):
    levels = ["emotion"] * 10 + ["group"] * 5 + ["any"] * 5
    answers = ["happy"] * 10 + ["positive"] * 5 + ["any"] * 5
    table = [
        row | {"answer": answer, "level": level}
        for row, answer, level in zip(rows(1, np.arange(0, 20, 1.0)), answers, levels, strict=True)
    ]
    draw(tmp_path / "a.png", table)
    ax = drawn["axes"][0]
    covered = {(round(b.x0, 1), round(b.x1, 1)) for b in _whole_height(ax)}
    assert {(9.5, 14.5), (14.5, 19.5)} <= covered
    assert any(collection.get_hatch() for collection in ax.collections)
    assert "any emotion" in [text.get_text() for text in ax.get_legend().get_texts()]


def _whole_height(ax):
    boxes = [path.get_extents() for collection in ax.collections for path in collection.get_paths()]
    return [box for box in boxes if (box.y0, box.y1) == (0, 1)]
