"""From a photo to an aligned face: MTCNN finds it and its landmarks, which a similarity transform puts in their places.

MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks",
arXiv:1604.02878) is that of the package `mtcnn`, which has its weights in it and runs on TensorFlow. It is asked for by
`format: photos` alone, and is not among this project's requirements.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.errors import StageError
from faces.core.image_size import SIDE
from faces.core.params import Params
from faces.core.threads import load_threads
from faces.images.alignment import TEMPLATE, similarity_transform
from faces.images.rejection import Rejection

PACKAGES = {"mtcnn": "mtcnn==1.0.0", "lz4": "lz4==4.4.5"}  # module: what pip is asked for
SMALLEST_FACE = 20  # pixels; with another, the pyramid of mtcnn 1.0.0 may end below what its network takes
MARGIN = 0.25  # of the photo, added around it: a face that fills the frame would not be found


class PhotosParams(Params):
    """The section `photos:` of params.yaml: which faces are taken from photos."""

    detection_side: int = Field(ge=64, le=4096)
    lowest_confidence: float = Field(ge=0, le=1)
    second_face: float = Field(ge=0, le=1)
    min_eye_distance: float = Field(ge=1, le=1000)
    most_turn: float = Field(ge=0, le=10)


class Face(NamedTuple):
    """A face in a photo: confidence 0 to 1, side of its box in pixels, and landmarks (5, 2), x and y, as TEMPLATE's."""

    confidence: float
    size: float
    landmarks: NDArray[np.float64]


def check_installed() -> None:
    """Raise StageError if the detector is not installed."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise StageError(
            f"`format: photos` needs a face detector, which is not installed: pip install --no-deps {' '.join(missing)}"
        )


class Detector:
    """MTCNN; every photo is looked at alone, so that others make no difference to it."""

    def __init__(self, params: PhotosParams) -> None:
        """Load the networks; StageError if the package is missing."""
        check_installed()
        from faces.network import runtime  # TensorFlow takes seconds to import

        runtime.start(load_threads())
        self._detection_side = params.detection_side
        self._network = _load_mtcnn()

    def __call__(self, photo: NDArray[np.uint8]) -> list[Face]:
        """Return the faces of a photo, uint8 (height, width, 3), RGB, the largest first."""
        scale = min(1.0, self._detection_side / max(photo.shape[:2]))
        small = photo
        if scale < 1:
            small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        edge = round(MARGIN * max(small.shape[:2])) + SMALLEST_FACE
        framed = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_CONSTANT)
        found = np.asarray(
            self._network.detect_faces(
                framed, fit_to_image=False, output_type="numpy", box_format="xyxy", min_face_size=SMALLEST_FACE
            )
        ).reshape(-1, 16)  # number of the photo, box x1 y1 x2 y2, confidence, five x, five y of landmarks
        stretch = np.array([photo.shape[1] / small.shape[1], photo.shape[0] / small.shape[0]])
        faces = [
            Face(
                confidence=float(row[5]),
                size=float(max(row[3] - row[1], row[4] - row[2])) * stretch.max(),
                # Pixels are counted by their corners when shrunk, and by their centres in landmarks.
                landmarks=(row[6:].reshape(2, 5).T - edge + 0.5) * stretch - 0.5,
            )
            for row in found.astype(np.float64)
        ]
        return sorted(faces, key=lambda face: -face.size)


def _load_mtcnn() -> Any:
    import lz4.frame
    from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler
    from mtcnn import MTCNN, stages

    class NumbersOnly(NumpyArrayWrapper):
        """An array that joblib reads, unless it is one of objects, which would be unpickled by anything they name."""

        def read_array(self, *arguments: Any) -> Any:
            if self.dtype.hasobject:
                raise StageError("the weights of mtcnn have an array of objects, which is not loaded")
            return super().read_array(*arguments)

    class Weights(NumpyUnpickler):
        """Joblib's reader of pickled arrays, that knows arrays and nothing that could be called beside."""

        def find_class(self, module: str, name: str) -> Any:
            if name == "NumpyArrayWrapper":
                return NumbersOnly
            if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
                return super().find_class(module, name)
            raise StageError(f"the weights of mtcnn ask for {module}.{name}, which is not loaded")

    def load_weights(name: str) -> Any:
        path = Path(stages.__file__).parent.parent / "assets/weights" / name
        with lz4.frame.open(path) as file:
            return Weights(str(path), file, True).load()

    for module in ("stage_pnet", "stage_rnet", "stage_onet"):
        setattr(importlib.import_module(f"mtcnn.stages.{module}"), "load_weights", load_weights)  # noqa: B010
    return MTCNN()


def the_face(faces: list[Face], params: PhotosParams) -> Face:
    """Return the face that a photo is of, the largest; Rejection if there is none, or any doubt."""
    sure = [face for face in faces if face.confidence >= params.lowest_confidence]
    if not sure:
        surest = max((face.confidence for face in faces), default=0.0)
        raise Rejection("no_face", f"the surest of {len(faces)} has a confidence of {surest:.3f}" if faces else "none")
    face, *others = sure
    if others and others[0].size > params.second_face * face.size:
        sizes = f"{face.size:.0f} and {others[0].size:.0f} pixels"
        raise Rejection("several_faces", f"{len(sure)}, of which the largest two have {sizes}")
    distance = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    if distance < params.min_eye_distance:
        raise Rejection("small_face", f"{distance:.1f} pixels between the eyes")
    if turn_of(face.landmarks) > params.most_turn:
        raise Rejection("turned_face", f"a turn of {turn_of(face.landmarks):.2f}")
    return face


def turn_of(landmarks: NDArray[np.float64]) -> float:
    """Return how far a face is turned to a side: 0 if it looks at the camera, 0.5 with the nose in front of an eye.

    It is how far the tip of the nose is from the middle between the eyes, along the line through them, as a share of
    their distance.
    """
    left, right, nose = landmarks[:3]
    across = right - left
    return abs(float((nose - (left + right) / 2) @ across / max(float(across @ across), 1e-9)))


def aligned(photo: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the standard crop, uint8 (112, 112, 3), of a photo; black where the photo ends."""
    a, b = similarity_transform(landmarks, TEMPLATE)
    if (shrink := abs(a)) < 1:  # averaged before it is turned, or fine detail would turn into noise
        small = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        stretch = np.array([small.shape[1] / photo.shape[1], small.shape[0] / photo.shape[0]])
        photo, (a, b) = small.astype(np.uint8), similarity_transform((landmarks + 0.5) * stretch - 0.5, TEMPLATE)
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    return cv2.warpAffine(photo, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC).astype(np.uint8)


def align_photo(photo: NDArray[np.uint8], detector: Detector, params: PhotosParams) -> NDArray[np.uint8]:
    """Return the face of a photo, uint8 (height, width, 3), as uint8 (112, 112, 3), RGB; Rejection if it has none."""
    return aligned(photo, the_face(detector(photo), params).landmarks)
