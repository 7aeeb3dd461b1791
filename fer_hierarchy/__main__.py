"""The program, as `python -m fer_hierarchy`."""

import sys

from fer_hierarchy.hierarchy.cli import main

if __name__ == "__main__":
    sys.exit(main())
