"""Keras as our models are made for it, whatever the user's keras.json says; imported before any layer is made."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.backend.backend()!r} in this process; the models need tensorflow: "
        "import fer_hierarchy before keras, or set KERAS_BACKEND=tensorflow"
    )
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")
