"""Make tests/data/keras2: weight files as the notebook's TensorFlow 2.15 writes them, and what they should compute.

The network is written here a second time, in Keras 2 and apart from `faces.network.mobilefacenet`, so that the two
check each other. All weights are random, batch statistics included. The environment must be one of its own:

    python3.11 -m venv /tmp/keras2
    /tmp/keras2/bin/pip install tensorflow==2.15.1 "numpy<2"
    /tmp/keras2/bin/python tests/make_keras2_weights.py

Files written, the .h5 ones compressed:
    backbone.h5.gz          `save` of the whole backbone
    backbone_weights.h5.gz  `save_weights` of it
    backbone.weights.h5.gz  the same under a name by which Keras 2.15 chooses the format of Keras 3
    training.h5.gz          `save` of the training model, as a checkpoint does: two inputs, the backbone nested,
                            ArcFace, and an optimizer with momentum
    siamese.h5.gz           `save` of a model of two images with the frozen backbone nested
    expected.npz            `facts` below
"""

import argparse
import gzip
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.keras import Input, Model, layers, regularizers

IMAGES = 4
CLASSES = 5
L2 = 1e-4


def images(seed: int) -> np.ndarray:
    """Return (4, 112, 112, 3) uint8; the test draws the same."""
    return np.random.default_rng(seed).integers(0, 256, (IMAGES, 112, 112, 3), dtype=np.uint8)


def convolution(x: Any, channels: int, kernel: int = 1, stride: int = 1, activation: str = "swish") -> Any:
    x = layers.Conv2D(channels, kernel, stride, kernel_regularizer=regularizers.l2(L2))(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def depthwise(x: Any, kernel: int, stride: int, padding: str, activation: str) -> Any:
    x = layers.DepthwiseConv2D(kernel, stride, padding, kernel_regularizer=regularizers.l2(L2))(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def residuals(x: Any, channels: int, expansion: int, stride: int, repeats: int) -> Any:
    for index in range(repeats):
        shortcut = x
        x = convolution(x, x.shape[-1] * expansion)
        x = depthwise(x, 3, stride if index == 0 else 1, "same", "swish")
        x = convolution(x, channels, activation="linear")
        if index > 0:
            x = layers.add([x, shortcut])
    return x


def backbone(width: float) -> Model:
    narrow, middle, wide = (int(channels * width) for channels in (64, 128, 512))
    inputs = Input((112, 112, 3))
    x = convolution(inputs, narrow, kernel=3, stride=2)
    x = layers.SeparableConv2D(narrow, 3, padding="same", kernel_regularizer=regularizers.l2(L2))(x)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    x = residuals(x, narrow, expansion=2, stride=2, repeats=5)
    x = residuals(x, middle, expansion=4, stride=2, repeats=1)
    x = residuals(x, middle, expansion=2, stride=1, repeats=6)
    x = residuals(x, middle, expansion=4, stride=2, repeats=1)
    x = residuals(x, middle, expansion=2, stride=1, repeats=2)
    x = convolution(x, wide)
    x = depthwise(x, 7, 1, "valid", "linear")
    x = layers.Flatten()(convolution(x, middle))
    return Model(inputs, layers.Dense(512, kernel_regularizer=regularizers.l2(L2))(x))


class ArcFace(layers.Layer):
    """Stands for the notebook's layer of this name: one weight W, called on [embeddings, labels]."""

    def build(self, input_shape: Any) -> None:
        self.W = self.add_weight(name="W", shape=(input_shape[0][-1], CLASSES))

    def call(self, inputs: Any) -> Any:
        embeddings, labels = inputs
        return tf.nn.softmax(tf.nn.l2_normalize(embeddings, 1) @ tf.nn.l2_normalize(self.W, 0) - 0.1 * labels)


def training_model(nested: Model) -> Model:
    inputs, labels = Input((112, 112, 3)), Input((CLASSES,))
    model = Model([inputs, labels], ArcFace()([nested(inputs), labels]))
    model.compile(tf.keras.optimizers.SGD(0.1, momentum=0.5), "categorical_crossentropy")
    return model


def siamese_model(nested: Model) -> Model:
    nested.trainable = False
    left, right = Input((112, 112, 3)), Input((112, 112, 3))
    x = layers.concatenate([nested(left), nested(right)])
    x = layers.Dense(128, "gelu", kernel_initializer="zeros")(x)
    return Model([left, right], layers.Dense(1, "sigmoid", kernel_initializer="zeros")(x))


def randomize(model: Model, rng: np.random.Generator) -> None:
    """Replace every weight, with spreads that keep signals of a size that float32 compares well.

    Values are rounded to float16, so that the files compress.
    """
    for variable in model.weights:
        shape = variable.shape.as_list()
        if "kernel" in variable.name:
            fan_in = np.prod(shape[:2]) if "depthwise" in variable.name else np.prod(shape[:-1])
            value = rng.normal(0, np.sqrt(1 / fan_in), shape)
        elif "gamma" in variable.name or "variance" in variable.name:
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        variable.assign(value.astype(np.float16).astype(np.float32))


def facts(model: Model, seed: int) -> dict[str, Any]:
    """Return what the network computes from its weights; a pass in training mode last, since it moves statistics."""
    pixels = images(seed).astype(np.float32) / 255
    result = {
        "weights": sum(int(np.prod(variable.shape)) for variable in model.weights),
        "embeddings": model.predict(pixels, verbose=0),
        "regularization": float(tf.add_n(model.losses)),
        "embeddings_in_training": model(pixels, training=True).numpy(),
    }
    for statistic in ("moving_mean", "moving_variance"):
        values = [variable.numpy() for variable in model.weights if statistic in variable.name]
        result[f"{statistic}_after"] = np.concatenate(values)
    return result


def compress(source: Path, target: Path) -> None:
    """Write `source` to `target` as gzip with no date or name in it."""
    with open(target, "wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as compressed:
        compressed.write(source.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Make weight files with Keras 2.15 for tests/network/test_weights.py")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "data" / "keras2")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)

    backbone(0.25)  # so that the counters in layer names do not start at their first value, as in a notebook
    model = backbone(arguments.width)
    training = training_model(model)
    training.fit([images(0) / 255, np.eye(CLASSES)[:IMAGES]], np.eye(CLASSES)[:IMAGES], verbose=0)
    for momentum in training.optimizer.variables[1:]:  # the fit made them; what they hold is of no interest
        momentum.assign(tf.ones_like(momentum))
    randomize(training, np.random.default_rng(arguments.seed))
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/backbone.h5")
        model.save_weights(f"{folder}/backbone_weights.h5")
        model.save_weights(f"{folder}/backbone.weights.h5")
        training.save(f"{folder}/training.h5")
        siamese_model(model).save(f"{folder}/siamese.h5")
        for file in Path(folder).iterdir():
            compress(file, arguments.to / f"{file.name}.gz")
    model.trainable = True
    np.savez(arguments.to / "expected.npz", **facts(model, arguments.seed))


if __name__ == "__main__":
    main()
