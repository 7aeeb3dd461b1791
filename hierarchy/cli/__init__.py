"""The command line, a thin layer: `console` and `flags` for every program of ours, `program` and its `modes` on top."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 1 done but for some of many files, 2 bad input, 130 interrupted.
    """
    # Imported late: the searches and the predictions, which the program starts, import this package's other modules.
    from fer_hierarchy.hierarchy.cli.program import run

    return run(argv)
