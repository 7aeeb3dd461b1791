"""The program, as `python tf_model.py`; an installed copy has it as `fer-hierarchy`."""

import sys

from fer_hierarchy.hierarchy.cli import main

if __name__ == "__main__":
    sys.exit(main())
