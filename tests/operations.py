"""A hash of what each operation of the pipeline computes, from the same numbers on every processor.

Run     python <path of this file> in a folder whose params.yaml has `runtime.portable: true`; it prints them

tests/data/operations.txt has what it prints, with the versions of requirements.txt. tests/test_operations.py compares
the two: an operation that strays on a processor is named.
"""

import faces.core.portable  # noqa: F401  as in every script

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter
from scipy.special import erf, expit, xlogy
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE

from faces.core.threads import fixed_threads
from faces.training.augmentation import AugmentParams, NotebookAugmenter, PhotoAugmenter

ROOT = Path(__file__).parent.parent
THREADS = 2

Arrays = list[Any]


class Numbers:
    """Random numbers that need no rounding: sums of four integers, divided by a power of two; nearly normal."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def __call__(self, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
        integers = self._random.integers(-(2**15), 2**15, size=(4, *shape)).sum(axis=0)
        return (integers / 2**16 * scale).astype(np.float32)

    def images(self, count: int, side: int) -> NDArray[np.uint8]:
        """Smooth images with noise, as photographs are."""
        coarse = self._random.integers(0, 256, (count, side // 8, side // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
        return np.clip(coarse + self._random.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8)


def _hash(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _with_gradients(function: Callable[..., Any], inputs: Arrays, numbers: Numbers) -> Arrays:
    """Return the output of a TensorFlow function, and the gradient of each input, computed as one graph."""
    from faces.network.runtime import tf

    upstream = tf.constant(numbers(*function(*inputs).shape))

    @tf.function
    def compute(*tensors: Any) -> Arrays:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            output = function(*tensors)
        return [output, *tape.gradient(output, tensors, output_gradients=upstream)]

    return list(compute(*(tf.constant(array) for array in inputs)))


def tensorflow_operations(numbers: Numbers) -> Iterator[tuple[str, Arrays]]:
    """Yield what training runs, at the sizes of the network of width 0.25: name -> output and gradients."""
    from faces.network.layers import BatchNormalization
    from faces.network.runtime import keras, tf
    from faces.training.arcface import ArcFaceLoss, CosineHead

    images = 4
    for side, inputs, outputs, kernel, stride in (
        (112, 3, 16, 3, 2),
        (55, 16, 32, 1, 1),
        (28, 32, 16, 1, 1),
        (28, 16, 64, 1, 1),
        (14, 64, 32, 1, 1),
        (14, 32, 128, 1, 1),
        (7, 128, 32, 1, 1),
        (7, 32, 128, 1, 1),
    ):
        convolve = lambda x, w, stride=stride: tf.nn.conv2d(x, w, stride, "VALID")  # noqa: E731
        arrays = [numbers(images, side, side, inputs), numbers(kernel, kernel, inputs, outputs, scale=0.1)]
        name = f"convolution {kernel} x {kernel} / {stride}, {side} x {side}, {inputs} to {outputs}"
        yield name, _with_gradients(convolve, arrays, numbers)
    for side, channels, kernel, stride, padding in (
        (55, 16, 3, 1, "SAME"),
        (55, 32, 3, 2, "SAME"),
        (28, 64, 3, 2, "SAME"),
        (14, 64, 3, 1, "SAME"),
        (7, 128, 7, 1, "VALID"),
    ):
        strides = (1, stride, stride, 1)
        filter_ = lambda x, w, s=strides, p=padding: tf.nn.depthwise_conv2d(x, w, s, p)  # noqa: E731
        arrays = [numbers(images, side, side, channels), numbers(kernel, kernel, channels, 1, scale=0.3)]
        name = f"depthwise {kernel} x {kernel} / {stride}, {side} x {side}, {channels}"
        yield name, _with_gradients(filter_, arrays, numbers)
    for rows, columns, outputs in ((32, 128, 512), (32, 512, 500), (128, 1025, 128)):
        arrays = [numbers(rows, columns), numbers(columns, outputs, scale=0.1)]
        yield f"matrix product {rows} x {columns} x {outputs}", _with_gradients(tf.matmul, arrays, numbers)
    maps, vectors = numbers(images, 28, 28, 32), numbers(32, 512)
    for name, function in {"silu": tf.nn.silu, "erf": tf.math.erf, "softplus": tf.nn.softplus}.items():
        yield name, _with_gradients(function, [maps], numbers)
    yield "sum", _with_gradients(lambda x: tf.reduce_sum(x, [1, 2, 3]), [maps], numbers)
    yield "moments", _with_gradients(lambda x: tf.stack(tf.nn.moments(x, [0, 1, 2])), [maps], numbers)
    for name, inputs_ in {"maps": maps, "vectors": vectors}.items():
        layer = BatchNormalization(momentum=0.9)
        layer.build(inputs_.shape)
        trained = _with_gradients(lambda x, layer=layer: layer(x, training=True), [inputs_], numbers)
        yield f"batch norm of {name}, training", [*trained, *layer.get_weights()]
        yield f"batch norm of {name}, inference", [tf.function(layer)(inputs_)]
    head = CosineHead(500)
    head.build(vectors.shape)
    head.directions.assign(numbers(500, 512))
    yield "cosine head", _with_gradients(head, [vectors], numbers)
    losses = lambda cosines: ArcFaceLoss(16.0, 0.3).call(np.arange(32), cosines)  # noqa: E731
    yield "ArcFace", _with_gradients(losses, [np.clip(numbers(32, 500, scale=0.5), -1, 1)], numbers)
    for optimizer in (keras.optimizers.SGD(0.1, momentum=0.5), keras.optimizers.Adam(4e-4)):
        variable = keras.Variable(vectors)
        for _ in range(3):
            optimizer.apply([tf.constant(numbers(32, 512, scale=0.1))], [variable])
        yield optimizer.name, [variable.numpy()]
    for name in ("glorot_uniform", "he_normal"):
        yield name, [keras.initializers.get({"class_name": name, "config": {"seed": 0}})((64, 512))]


def whole_networks(numbers: Numbers) -> Iterator[tuple[str, Arrays]]:
    """Yield the weights after two training steps, and embeddings by the converted network."""
    from faces.inference.embedder import Embedder
    from faces.inference.litert import convert
    from faces.network import mobilefacenet
    from faces.network.runtime import keras, tf
    from faces.training.arcface import ArcFaceLoss, CosineHead

    keras.utils.set_random_seed(0)
    backbone = mobilefacenet.build(0.25, 512, "linear", "symmetric", 0.0, 0.9)
    model = keras.Sequential([backbone, CosineHead(10)])
    optimizer, loss = keras.optimizers.SGD(0.1, momentum=0.5), ArcFaceLoss(16.0, 0.3)
    optimizer.build(model.trainable_variables)
    yield "initial weights", model.get_weights()

    @tf.function
    def step(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss.call(labels, model(images, training=True)))
        weights = model.trainable_variables
        optimizer.apply(tape.gradient(value, [weight.value for weight in weights]), weights)

    images = numbers.images(8, 112)
    for _ in range(2):
        step(tf.constant(images, tf.float32), tf.constant(np.arange(8)))
    yield "two training steps", model.get_weights()
    yield "inference by Keras", [tf.function(lambda x: backbone(x, training=False))(tf.constant(images, tf.float32))]
    converted = convert(backbone)
    yield "conversion to LiteRT", [converted]
    yield "inference by LiteRT", [Embedder(converted, 2, flip=True)(images[:2])]


def other_operations(numbers: Numbers) -> Iterator[tuple[str, Arrays]]:
    """Yield what the stages besides training run: NumPy, SciPy, scikit-learn, FAISS, OpenCV and Pillow."""
    for kind in (np.float32, np.float64):
        values: NDArray[Any] = numbers(5000).astype(kind)
        for function in (np.exp, np.sin, np.cos, np.hypot, np.arctan2, erf, expit):
            arguments = (values, values[::-1]) if function in (np.hypot, np.arctan2) else (values,)
            yield f"{function.__name__} {kind.__name__}", [function(*arguments)]
        positive = np.abs(values) + kind(0.01)
        for function in (np.log, np.log10, np.sqrt):
            yield f"{function.__name__} {kind.__name__}", [function(positive)]
        yield f"power {kind.__name__}", [np.power(positive, kind(2.2)), xlogy(positive, positive)]
        matrix: NDArray[Any] = numbers(300, 512).astype(kind)
        yield f"matrix product of NumPy {kind.__name__}", [matrix @ matrix.T, matrix @ matrix[0]]
        yield f"sums of NumPy {kind.__name__}", [
            matrix.sum(), matrix.mean(axis=0), matrix.std(axis=1), np.einsum("nd,nd->n", matrix, matrix[::-1]),
            np.linalg.norm(matrix, axis=1), np.cumsum(matrix),
        ]  # fmt: skip
    vectors = numbers(400, 512)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    yield "FAISS: nearest", list(faiss.knn(vectors[:50], vectors, 10, metric=faiss.METRIC_INNER_PRODUCT))
    by_number, places = np.empty((50, 8), np.float32), np.arange(400).reshape(50, 8)
    arrays = (by_number, np.ascontiguousarray(vectors[:50]), vectors, places)  # alive while FAISS has their addresses
    faiss.fvec_inner_products_by_idx(*map(faiss.swig_ptr, arrays), 512, 50, 8)  # type: ignore[attr-defined]
    yield "FAISS: products by number", [by_number]
    index = faiss.index_factory(512, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    yield "FAISS: IVF", list(index.search(vectors[:50], 5))
    yield "t-SNE", [TSNE(random_state=0, perplexity=5, max_iter=300).fit_transform(vectors[:40])]
    regression = LogisticRegression().fit(vectors[:, :3], vectors[:, 3] + vectors[:, 0] > 0)
    yield "logistic regression", [regression.coef_, regression.intercept_]
    yield "isotonic regression", [isotonic_regression(vectors[0].astype(np.float64))]
    images = numbers.images(8, 224)
    image, small = images[0], np.ascontiguousarray(images[:, :112, :112])
    yield "uniform filter", [uniform_filter(image.astype(np.float32), (9, 9, 0))]
    moved = np.array([[0.9, 0.1, 3.3], [-0.12, 1.05, -2.7]])
    for source in (image, image.astype(np.float32)):
        name = source.dtype.name
        yield f"OpenCV: warp {name}", [cv2.warpAffine(source, moved, (112, 112), flags=cv2.INTER_LINEAR)]
        yield (
            f"OpenCV: resize {name}",
            [cv2.resize(source, (100, 90), interpolation=way) for way in (cv2.INTER_AREA, cv2.INTER_LINEAR)],
        )
        yield f"OpenCV: blur {name}", [cv2.GaussianBlur(source, (0, 0), 1.3)]
        yield f"OpenCV: grey {name}", [cv2.cvtColor(source, cv2.COLOR_RGB2GRAY)]
    yield "OpenCV: JPEG and PNG", [cv2.imencode(f".{kind}", image)[1] for kind in ("jpg", "png")]
    picture = Image.fromarray(image)
    for filter_ in (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS):
        yield f"Pillow: {filter_.name.lower()}", [np.asarray(picture.resize((112, 112), filter_))]
    for format_ in ("JPEG", "PNG", "WEBP"):
        file = io.BytesIO()
        picture.save(file, format_)
        yield f"Pillow: {format_}", [file.getvalue(), np.asarray(Image.open(file))]
    strengths = {
        "one_of_seven": False, "flip": True, "rotation_degrees": 10.0, "zoom": 0.1, "shift_pixels": 3.0,
        "contrast": 0.2, "brightness": 20.0, "tint": 10.0, "grey_probability": 0.2, "low_resolution_probability": 0.5,
        "blur_probability": 0.5, "erase_probability": 0.5,
    }  # fmt: skip
    yield "augmentation", [PhotoAugmenter(AugmentParams.model_validate(strengths))(small, (0,))]
    yield "the notebook's augmentation", [NotebookAugmenter()(small, (seed,)) for seed in range(3)]
    yield "drawing", _drawn_images()


def _drawn_images() -> Arrays:
    from faces.core.params import read_params
    from faces.drawing.head import draw_shape
    from faces.drawing.look import make_look
    from faces.drawing.photograph import photograph
    from faces.drawing.scene import SceneParams, draw_scene, random_generator
    from faces.drawing.traits import draw_traits

    section = read_params(ROOT / "params.yaml")["synthesize"]
    params = SceneParams.model_validate({name: section[name] for name in SceneParams.model_fields})
    pictures = []
    for identity in range(2):
        rng = random_generator(0, identity)
        shape = draw_shape(rng, 1.0)
        look = make_look(rng, draw_traits(rng, 1.0))
        pictures += [photograph(shape, look, draw_scene(rng, params), rng) for _ in range(3)]
    return pictures


def main() -> None:
    """Print a hash and the name of each operation."""
    from faces.network import runtime

    runtime.start(THREADS)
    numbers = Numbers()
    with fixed_threads(THREADS):
        for group in (tensorflow_operations, whole_networks, other_operations):
            for name, arrays in group(numbers):
                print(f"{_hash(arrays)}  {name}", flush=True)


if __name__ == "__main__":
    main()
