"""What the program refuses before any mode begins."""

import pytest

from fer_hierarchy.hierarchy.cli import main


@pytest.mark.parametrize(
    "words", [["--config", ""], ["--results", ""], ["--exclude", ""], ["--data", ""], ["--mode", "predict", ""]]
)
def test_an_empty_value_is_refused_in_one_line(words, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error:" in line
    assert "got ''" in line
