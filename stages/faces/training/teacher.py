"""A trained network as a teacher: its embeddings of the training images, which the network in training learns to match.

The teacher sees each image once, unchanged and mirrored, and the mean of both embeddings is kept. So its time does not
grow with epochs, and the network learns to give a changed image the embedding of the unchanged one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.checkpoints import CHECKPOINTS, FINISHED, finish_checkpoints, work_fingerprint
from faces.core.errors import StageError
from faces.core.image_size import IMAGE_SHAPE
from faces.core.npy_files import open_npy
from faces.core.terminal import say, warn
from faces.core.threads import load_threads
from faces.evaluation.roc import area_under_roc
from faces.inference.embedding import Embed, embed_in_chunks
from faces.inference.onnx_session import onnx_session
from faces.network.architecture import Architecture, extract_architecture
from faces.network.weight_files import differences
from faces.tables.embeddings import unit_length
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import SPLIT_PATH

NO_TEACHER = Path("models/no_teacher")  # names no network: nobody teaches
PIXELS = {"bytes": (1.0, 0.0), "symmetric": (1 / 127.5, -1.0), "unit": (1 / 255, 0.0)}  # factor and offset of 0..255
TRIED_IMAGES = 500  # of training, on whose pairs the teacher's AUC is told
MIN_AUC = 0.75  # of a teacher on training people, without a warning; raw pixels reach 0.6


class TeacherParams(Architecture):
    """Parameters of the teacher, part of the section `train:`."""

    teacher: str = Field(min_length=1)
    teacher_weight: float = Field(gt=0)
    teacher_pixels: Literal["bytes", "symmetric", "unit"]


@dataclass
class Teacher:
    """What is taught: unit embeddings (n, D) of the images `numbers` (n,), which are in ascending order."""

    numbers: NDArray[np.int64]
    embeddings: NDArray[np.float32]

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings of images (m,), shape (m, D)."""
        return self.embeddings[np.searchsorted(self.numbers, numbers)]


def check_teacher(params: TeacherParams) -> None:
    """Raise StageError unless `teacher` names a network whose embeddings are as long as those in training."""
    path = Path(params.teacher)
    if path == NO_TEACHER:
        return
    if path.resolve() == Path("models/backbone.weights.h5").resolve():
        raise _error(path, "training replaces this file; name a copy of it")
    if not path.is_file():
        raise _error(path, f"no such file; name an .onnx or .weights.h5, or {NO_TEACHER} for none")
    if path.suffix == ".onnx":
        size = _OnnxTeacher(path, params).embedding_size
    else:
        size = _architecture(path, params).embedding_size
    if size != params.embedding_size:
        raise StageError(
            f"params.yaml: train.embedding_size: {params.embedding_size}: the embeddings of train.teacher, "
            f"{str(path)!r}, have {size} numbers; set it to that"
        )


def _error(path: Path, problem: str) -> StageError:
    return StageError(f"params.yaml: train.teacher: {str(path)!r}: {problem}")


class _OnnxTeacher:
    """An ONNX network that takes RGB faces of 112 x 112, channels first or last."""

    def __init__(self, path: Path, params: TeacherParams) -> None:
        try:
            self._session = onnx_session(path, load_threads())
        except Exception as error:  # of many kinds, for what is no ONNX file
            raise _error(path, f"not an ONNX model ({' '.join(str(error).split())[:200]})") from None
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        shape, (height, width, colours) = inputs[0].shape[1:], IMAGE_SHAPE
        self._channels_first = _fits(shape, (colours, height, width))
        if len(inputs) > 1 or not (self._channels_first or _fits(shape, IMAGE_SHAPE)):
            found = ", ".join(f"{given.name} {given.shape}" for given in inputs)
            raise _error(path, f"takes {found}; a teacher takes images (n, 112, 112, 3) or (n, 3, 112, 112)")
        self._name, self._output = inputs[0].name, output.name
        self._scale, self._offset = (np.float32(number) for number in PIXELS[params.teacher_pixels])
        try:
            self.embedding_size = self(np.zeros((1, *IMAGE_SHAPE), np.uint8)).shape[-1]
        except Exception as error:  # of ONNX Runtime's many kinds: it takes several images at once, or no float32
            raise _error(path, f"does not embed one image ({' '.join(str(error).split())[:200]})") from None

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings (n, D) of images (n, 112, 112, 3), embedded one at a time."""
        pixels = images.astype(np.float32) * self._scale + self._offset
        if self._channels_first:
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        run = self._session.run
        embedded = [run([self._output], {self._name: image[np.newaxis]})[0].reshape(1, -1) for image in pixels]
        return np.concatenate(embedded)


def _fits(shape: list[Any], wanted: tuple[int, ...]) -> bool:
    """Return whether a shape, in which names stand for any size, allows the one wanted."""
    return len(shape) == len(wanted) and all(
        not isinstance(given, int) or given == size for given, size in zip(shape, wanted, strict=True)
    )


def _architecture(path: Path, params: TeacherParams) -> Architecture:
    """Return the architecture of a file of weights; it does not tell the range of pixels, which is that in training."""
    own = extract_architecture(params)
    try:
        return own.model_copy(update={key: stored for key, (_, stored) in differences(path, own).items()})
    except StageError as error:
        raise StageError(f"params.yaml: train.teacher: {error}") from None


def _embed_by(params: TeacherParams) -> Embed:
    """Return the function that embeds images by the teacher; TensorFlow must have been started."""
    path = Path(params.teacher)
    if path.suffix == ".onnx":
        network = _OnnxTeacher(path, params)
        return lambda images: (network(images) + network(images[:, :, ::-1])) / 2
    from faces.inference.embedder import Embedder
    from faces.inference.litert import convert
    from faces.network import mobilefacenet, weights
    from faces.network.runtime import keras

    of_student = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # in which the teacher was trained, and which alone can be converted
    backbone = mobilefacenet.build(**_architecture(path, params).model_dump())
    keras.config.set_dtype_policy(of_student)
    weights.load_initial_weights(backbone, path)
    return Embedder(convert(backbone), flip=True)


def ask_teacher(
    params: TeacherParams, images: PackedImages, numbers: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the teacher's embeddings of the training images (n, D), of length 1.

    They are kept in models/checkpoints/teacher for the next trainings with this teacher, by a hash of it, of the images
    and of the code.

    Args:
        params: which teacher.
        images: all images of the split.
        numbers: the training images (n,), in ascending order.
        labels: of all images, (N,).
    """
    key = work_fingerprint(
        "train",
        params,
        [Path(params.teacher), SPLIT_PATH, *images.paths],
        ignored={"teacher", "teacher_weight", "width"},
        extra=load_threads(),
    )
    folder = CHECKPOINTS / "teacher" / key

    def load(start: int, stop: int) -> NDArray[np.uint8]:
        return images[numbers[start:stop]]

    path = folder / "embeddings.npy"
    if not (folder / FINISHED).exists():
        path = embed_in_chunks(_embed_by(params), load, len(numbers), "embedding by the teacher", folder)
        finish_checkpoints(folder, output=path)
    embeddings: Any = open_npy(path)
    try:
        unit = unit_length(embeddings)
    except StageError as error:
        raise _error(Path(params.teacher), str(error)) from None
    _tell_how_good(unit[:TRIED_IMAGES], labels[numbers[:TRIED_IMAGES]], params)
    return unit


def _tell_how_good(unit: NDArray[np.float32], labels: NDArray[np.int64], params: TeacherParams) -> None:
    """Say how well the teacher tells training people apart; warn if it does badly, as with pixels of another range."""
    a, b = np.triu_indices(len(unit), k=1)
    same = labels[a] == labels[b]
    if not 0 < same.sum() < len(same):
        return
    auc = area_under_roc((unit @ unit.T)[a, b], same)
    say(f"the teacher's AUC on {len(unit)} training images: {auc:.3f}")
    if auc < MIN_AUC:
        warn(
            f"params.yaml: train.teacher: {params.teacher!r}: hardly tells training people apart, with an AUC of "
            f"{auc:.3f}: look at train.teacher_pixels, {params.teacher_pixels!r}, for an .onnx, or at train.pixel_range"
        )
