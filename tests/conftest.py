"""Settings that every test shares: no GPU, a cache of its own, and no file left in the checkout."""

import os
import tempfile

os.environ["FER_CACHE"] = tempfile.mkdtemp(prefix="fer-cache-")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import hierarchy  # noqa: E402, F401 - sets TensorFlow's environment before any test imports it
