"""PyTorch twins of the networks in `models/`, and what carries weights from one framework to the other."""

import os

# Read when PyTorch is loaded: its threads then sleep while they wait, and do not burn cores that others use.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
