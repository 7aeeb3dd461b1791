"""The domain: what an emotion hierarchy is, how its stages are trained, composed and evaluated."""

import os

from fer_hierarchy.hierarchy.native_output import quiet_tensorflow

# All must be set before TensorFlow or Keras is imported anywhere. oneDNN cuts training time on CPUs by about a third.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Level 3: on machines without a GPU level 2 complains of CUDA; what really fails still arrives as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Keras takes these from the environment: another backend, and limits that would cut every training short.
os.environ["KERAS_BACKEND"] = "tensorflow"
for _limit in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
    os.environ.pop(_limit, None)
# Whatever the level, TensorFlow's import writes of oneDNN and of missing GPUs: not into a user's notebook.
quiet_tensorflow()
