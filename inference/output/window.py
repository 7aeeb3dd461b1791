"""A window on the screen, by OpenCV."""

import os
import subprocess
import sys
from typing import Self

import cv2
import numpy as np

from fer_hierarchy.hierarchy.errors import UserError

_LARGEST = 1280, 800  # pixels of a window when it opens
_NO_WINDOW = "use --no-window, with --record or --csv for the predictions"


class Window:
    """The window; a context manager.

    Args:
        title: Stands above the picture.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._open = False

    def __enter__(self) -> Self:
        """Find out whether there is a screen.

        Raises:
            UserError: There is none.
        """
        check_screen()
        return self

    def __exit__(self, *_: object) -> None:
        if self._open and not self.closed:
            cv2.destroyWindow(self.title)

    def show(self, picture: np.ndarray) -> None:
        """Put a picture (h, w, 3) uint8 RGB into the window; it opens with the first."""
        if not self._open:
            self._open_for(picture)
        cv2.imshow(self.title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _open_for(self, picture: np.ndarray) -> None:
        height, width = picture.shape[:2]
        share = min(1.0, _LARGEST[0] / width, _LARGEST[1] / height)
        try:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:  # opencv-python-headless has no windows at all
            raise UserError(f"this OpenCV cannot open a window; {_NO_WINDOW}") from error
        cv2.resizeWindow(self.title, round(share * width), round(share * height))
        self._open = True

    def key(self, milliseconds: int) -> str | None:
        """Wait for a key, which is how the window is drawn as well; None where none was pressed."""
        code = cv2.waitKey(max(milliseconds, 1))
        return None if code < 0 else chr(code & 0xFF).lower()

    @property
    def closed(self) -> bool:
        """Whether the user has closed the window."""
        try:
            return self._open and cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # some of OpenCV's toolkits do not know a closed window any more
            return True


def check_screen() -> None:
    """Refuse to open a window where that would end the process: OpenCV's toolkit aborts where it finds no screen.

    Raises:
        UserError: There is no screen.
    """
    if sys.platform != "linux":
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(f"there is no screen to open a window on (DISPLAY is not set); {_NO_WINDOW}")
    # A screen that is named may not respond. Another process tries, which may die of it.
    program = "import cv2; cv2.namedWindow('?'); cv2.destroyAllWindows()"
    tried = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    if tried.returncode:
        raise UserError(f"no window can be opened on the screen {os.environ.get('DISPLAY') or ''!r}; {_NO_WINDOW}")
