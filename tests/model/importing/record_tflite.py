"""Write the float `.tflite` files of `data/`, and what Keras computes with the models in them.

Run where TensorFlow is installed: ``python tests/model/importing/record_tflite.py``.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

DATA = Path(__file__).parent / "data"
COUNT = 3


def network(batch: int | None) -> keras.Model:
    """What int8 networks have, from a padded convolution to a softmax."""
    x = pixels = keras.Input((13, 12, 3), batch_size=batch)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="hard_silu")(x)
    x = layers.Add()([x, layers.Conv2D(8, 1, activation="tanh")(y)])
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2DTranspose(6, 3, strides=2)(x))
    scale = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(6, 1, activation="sigmoid")(scale)])
    x = layers.Concatenate()([x, layers.Conv2D(4, 1, activation="elu")(x)])
    x = layers.AveragePooling2D(2, padding="same")(layers.Cropping2D(((0, 0), (1, 0)))(x))
    x = layers.MaxPooling2D(2)(x)
    if batch:  # else it becomes a dozen operators that work out its shape
        x = layers.Dense(5, activation="relu")(x)
    x = layers.Dense(6)(layers.Flatten()(x))
    return keras.Model(pixels, layers.Softmax()(x))


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((COUNT, 13, 12, 3)).astype(np.float32)
    recorded = {"x": x}
    # With a batch of 1, and with an open one, whose sizes the file then computes
    for name, batch in (("float32", 1), ("float16", None)):
        keras.utils.set_random_seed(0)
        model = network(batch)
        for variable in model.weights:
            if "kernel" not in variable.path:
                variable.assign(rng.uniform(0.1, 0.4, variable.shape))
        recorded[name] = model.predict(x, batch_size=1, verbose=0)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if name == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        (DATA / f"{name}.tflite").write_bytes(converter.convert())
    np.savez_compressed(DATA / "tflite.npz", **recorded)


if __name__ == "__main__":
    main()
