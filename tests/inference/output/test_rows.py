import json

import pandas as pd
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.output.rows import RowFile, only_writer

COLUMNS = ["file", "faces", "face", "run", "emotion", "probability", "valence", "p_happy", "error"]


def row(file, *, faces=1, face=1, run="tree", emotion="happy", p=0.75, error=None):
    known = faces > 0
    return {
        "file": file,
        "faces": faces,
        "face": face if known else None,
        "run": run,
        "emotion": emotion if known else None,
        "probability": p if known else None,
        "valence": "positive" if known else None,
        "p_happy": p if known else None,
        "error": error,
    }


def opened(path, runs=("tree",)):
    return RowFile(path, COLUMNS, words=["valence"], runs=list(runs))


def read(path):
    if path.suffix == ".csv":
        return pd.read_csv(path).astype(object).where(lambda table: table.notna(), None).to_dict("records")
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return pd.read_parquet(path).astype(object).where(lambda table: table.notna(), None).to_dict("records")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_rows_are_read_back_as_they_were(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    rows = [row("a, b\n.jpg", faces=2), row("a, b\n.jpg", faces=2, face=2), row("ü.jpg", faces=0, error="damaged")]
    rows += [row(name) for name in ("a\rb.jpg", "\r", "a\r\nb.jpg", '"', "a\0b", "\u2028.jpg", "\x1b[2J.jpg", " ", "'")]
    with opened(path) as out:
        out.append(rows[:2])
        out.append(rows[2:])
    again = opened(path)
    assert again.done == {one["file"] for one in rows}
    again.finish()
    assert read(path) == rows
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_second_call_goes_on(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    with opened(path) as out:
        out.append([row("1.jpg"), row("2.jpg", faces=0, error="damaged"), row("3.jpg", faces=0)])
    with opened(path) as out:
        assert out.done == {"1.jpg", "2.jpg", "3.jpg"}
        assert out.failed == 1
        out.append([row("4.jpg")])
    assert [one["file"] for one in read(path)] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("cut", [1, 30, 60])
def test_what_a_kill_cut_off_is_done_again(tmp_path, kind, cut):
    path = tmp_path / f"rows.{kind}"
    out = opened(path)
    out.append([row("1.jpg"), row("2.jpg", faces=2), row("2.jpg", faces=2, face=2)])
    grown = path if kind == "csv" else path.with_name(f"{path.name}.part")
    grown.write_bytes(grown.read_bytes()[:-cut])
    with opened(path) as out:
        assert out.done == {"1.jpg"}
        out.append([row("2.jpg", faces=2), row("2.jpg", faces=2, face=2)])
    assert [one["file"] for one in read(path)] == ["1.jpg", "2.jpg", "2.jpg"]


def test_a_file_counts_when_every_model_has_answered(tmp_path):
    path = tmp_path / "rows.csv"
    with opened(path, runs=("tree", "flat")) as out:
        out.append([row("1.jpg"), row("1.jpg", run="flat"), row("2.jpg")])
    assert opened(path, runs=("tree", "flat")).done == {"1.jpg"}


def test_bytes_that_are_no_text_stay_in_a_name(tmp_path):
    name = b"\xff.jpg".decode(errors="surrogateescape")
    with opened(tmp_path / "rows.csv") as out:
        out.append([row(name)])
    assert opened(tmp_path / "rows.csv").done == {name}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "a,b\n1,2\n"),
        ("x.csv", "no line\rends\n"),
        ("x.csv", "x" * 200_000 + "\n"),
        ("x.json", "{"),
        ("x.json", "{}"),
        ("x.json", "[1]"),
        ("x.json", '[{"file": "1.jpg", "run": "tree"}]'),
        ("x.parquet", "no"),
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode())
    with pytest.raises(UserError, match=f"--out .*{name} (exists and is no|is damaged)"):
        opened(tmp_path / name)
    assert (tmp_path / name).read_bytes() == content.encode()
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_parquet_of_other_columns_is_refused_and_left_alone(tmp_path):
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match="exists and is no table"):
        opened(tmp_path / "x.parquet")
    assert list(pd.read_parquet(tmp_path / "x.parquet")) == ["a"]


def test_a_model_whose_name_is_a_formula_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a spreadsheet would compute the model's name =1\+1"):
        opened(tmp_path / "rows.csv", runs=["=1+1"])
    assert list(tmp_path.iterdir()) == []


def test_only_one_call_writes_a_file(tmp_path):
    path = tmp_path / "rows.json"
    with only_writer(path), pytest.raises(UserError, match="another call is writing it"), only_writer(path):
        pass
    with pytest.raises(ZeroDivisionError), only_writer(path):
        _ = 1 / 0
    with only_writer(path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_answers_of_another_model_are_refused_and_left_alone(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    with opened(path, runs=["other"]) as out:
        out.append([row("1.jpg", run="other")])
    before = path.read_bytes()
    with pytest.raises(UserError, match="holds predictions of other, not of tree"):
        opened(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_takes_no_rows_that_are_there(tmp_path, monkeypatch):
    out = opened(tmp_path / "rows.csv")
    out.append([row("1.jpg")])
    before = (tmp_path / "rows.csv").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        out.append([row("2.jpg")])
    assert (tmp_path / "rows.csv").read_bytes() == before


def test_temporary_files_of_a_killed_call_are_removed_by_the_next(tmp_path):
    for name in (".rows-abcdefgh.csv", ".rows.csv-abcdefgh.part", ".other-abcdefgh.csv", ".rows.txt"):
        (tmp_path / name).write_text("half")
    with only_writer(tmp_path / "rows.csv"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".other-abcdefgh.csv", ".rows.txt"}
