"""Where the program keeps things when the user names no place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
LOGS = ROOT / "logs"
PUBLISHED = RESULTS / "fer2013" / "flat"  # the weights that answer where no run is named
DEFAULT_DATA = ROOT / "data" / "fer2013"


def cache_dir() -> Path:
    """Folder of decoded images, extracted archives and synthetic faces; the environment variable FER_CACHE moves it."""
    return Path(os.environ.get("FER_CACHE") or ROOT / ".cache")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` only when the block ends without an error.

    Args:
        path: The final file. The temporary name keeps its suffix, because writers choose the format by it.
    """
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix, delete=False) as file:
        temporary = Path(file.name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a failed write names no file, or the temporary one
        raise
    finally:
        temporary.unlink(missing_ok=True)
