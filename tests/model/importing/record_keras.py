"""Write the `.keras` files of `data/` and what Keras computes with them.

Run where Keras is installed, with any of its backends: ``python
tests/model/importing/record_keras.py``. The networks have random weights but for the digits.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers

DATA = Path(__file__).parent / "data"
COUNT = 3


def picture_network() -> keras.Model:
    """Branches, every kind of convolution, a nested model, and arithmetic."""
    x = pixels = keras.Input((13, 12, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    y = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, y])
    z = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    z = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, activation="hard_silu")(z)
    inner = keras.Sequential(
        [layers.Input((3, 3, 16)), layers.Conv2D(8, 1, activation="silu"), layers.PReLU()]
    )
    z = inner(z)
    up = layers.UpSampling2D(2)(z)
    turned = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(z)
    joined = layers.Concatenate()([up, turned])
    joined = layers.Cropping2D(((0, 0), (1, 0)))(joined)
    scale = layers.GlobalAveragePooling2D(keepdims=True)(joined)
    scale = layers.Conv2D(12, 1, activation="sigmoid")(scale)
    x = layers.Multiply()([joined, scale])
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="gelu")(x)
    x = layers.Conv2D(6, 1, groups=2, activation="elu")(x * 2.0 + 1.0)
    x = layers.MaxPooling2D(2, padding="same")(layers.LeakyReLU(negative_slope=0.1)(x))
    x = layers.Flatten()(layers.SpatialDropout2D(0.1)(x))
    x = layers.Dense(5, activation="tanh")(x)
    return keras.Model(pixels, layers.Dense(4, activation="softmax")(x))


def sequence_network() -> keras.Model:
    """Convolutions and pools over time."""
    return keras.Sequential(
        [
            layers.Input((20, 3)),
            layers.Normalization(mean=[0.1, 0.5, 0.4], variance=[0.04, 0.09, 0.25]),
            layers.Conv1D(6, 5, padding="causal", activation="relu"),
            layers.AveragePooling1D(2),
            layers.SeparableConv1D(8, 3, padding="same"),
            layers.Dense(4, activation="hard_sigmoid"),
            layers.Permute((2, 1)),
            layers.Reshape((5, 8)),
            layers.GlobalMaxPooling1D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def digits_network() -> keras.Model:
    """A classifier of the bundled 8x8 digits, trained on pixels from 0 to 1."""
    from model.datasets import datasets

    digits = datasets.load("digits")
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.1),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(digits.x_train / 255, digits.y_train, 64, epochs=15, verbose=0)
    # Without the optimiser, which is of twice the size
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    return plain


def randomized(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """Weights and statistics that are not what they start as."""
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif "kernel" not in variable.path and "count" not in variable.path:
            variable.assign(rng.uniform(0.1, 0.6, variable.shape))
    return model


def main() -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    recorded = {}
    for name, model in (("picture", picture_network()), ("sequence", sequence_network())):
        randomized(model, rng)
        x = rng.random((COUNT, *model.input_shape[1:])).astype(np.float32)
        x = x * 255 if name == "picture" else x
        recorded[f"{name}_x"], recorded[f"{name}_y"] = x, np.asarray(model.predict(x, verbose=0))
        model.save(DATA / f"{name}.keras")
    digits_network().save(DATA / "digits.keras")
    np.savez_compressed(DATA / "keras.npz", **recorded)


if __name__ == "__main__":
    main()
