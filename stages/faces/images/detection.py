"""From a photo to an aligned face: MTCNN finds faces and landmarks; a similarity transform makes the standard crop.

MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks",
arXiv:1604.02878) comes from the package `mtcnn`, which includes the weights and runs on TensorFlow. Only
`format: photos` needs it, so it is not among this project's requirements.
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

PACKAGES = {"mtcnn": "mtcnn==1.0.0", "lz4": "lz4==4.4.5"}  # module -> requirement for pip
MIN_FACE = 20  # pixels; with another value, mtcnn 1.0.0 may shrink the photo below its network's smallest input
MARGIN = 0.25  # of the photo's longest side, added around it; without it a face that fills the photo is not found


class PhotosParams(Params):
    """The section `photos:` of params.yaml: which faces of photos are usable."""

    detection_side: int = Field(ge=64, le=4096)
    lowest_confidence: float = Field(ge=0, le=1)
    second_face: float = Field(ge=0, le=1)
    min_eye_distance: float = Field(ge=1, le=1000)
    most_turn: float = Field(ge=0, le=10)


class Face(NamedTuple):
    """A face in a photo."""

    confidence: float  # 0 to 1
    size: float  # side of its box, pixels
    landmarks: NDArray[np.float64]  # (5, 2): x, y in pixels, in the order of TEMPLATE


def check_installed() -> None:
    """Raise StageError if the detector is not installed."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise StageError(
            "a face detector is needed to find faces in photos, and is not installed: "
            f"pip install --no-deps {' '.join(missing)}"
        )


class Detector:
    """MTCNN; it sees one photo at a time, so the result does not depend on other photos."""

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
        edge = round(MARGIN * max(small.shape[:2])) + MIN_FACE
        framed = cv2.copyMakeBorder(small, edge, edge, edge, edge, cv2.BORDER_CONSTANT)
        detections = np.asarray(
            self._network.detect_faces(
                framed, fit_to_image=False, output_type="numpy", box_format="xyxy", min_face_size=MIN_FACE
            )
        ).reshape(-1, 16)  # index of the photo, box x1 y1 x2 y2, confidence, five x and five y of landmarks
        stretch = np.array([photo.shape[1] / small.shape[1], photo.shape[0] / small.shape[0]])
        faces = [
            Face(
                confidence=float(row[5]),
                size=float(max(row[3] - row[1], row[4] - row[2])) * stretch.max(),
                # Landmarks have pixel centres at integers; shrinking scales positions of pixel corners.
                landmarks=(row[6:].reshape(2, 5).T - edge + 0.5) * stretch - 0.5,
            )
            for row in detections.astype(np.float64)
        ]
        return sorted(faces, key=lambda face: -face.size)


def _load_mtcnn() -> Any:
    """Return the network, its weights unpickled by a loader that accepts arrays of numbers and calls nothing else."""
    import lz4.frame
    from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler
    from mtcnn import MTCNN, stages

    class NumbersOnly(NumpyArrayWrapper):
        """Reads an array of numbers; refuses an array of objects, since unpickling these could run any code."""

        def read_array(self, *arguments: Any) -> Any:
            if self.dtype.hasobject:
                raise StageError("the weights of mtcnn have an array of objects, which is not loaded")
            return super().read_array(*arguments)

    class Weights(NumpyUnpickler):
        """Joblib's unpickler, which resolves no names but those of arrays."""

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


def choose_face(faces: list[Face], params: PhotosParams) -> Face:
    """Return the largest face of a photo; Rejection if it is unusable, or another one is nearly as large.

    `faces` are in descending size; those below `lowest_confidence` do not count.
    """
    confident = [face for face in faces if face.confidence >= params.lowest_confidence]
    if not confident:
        highest = max((face.confidence for face in faces), default=0.0)
        raise Rejection("no_face", f"the surest of {len(faces)} has a confidence of {highest:.3f}" if faces else "none")
    face, *others = confident
    if others and others[0].size > params.second_face * face.size:
        sizes = f"{face.size:.0f} and {others[0].size:.0f} pixels"
        raise Rejection("several_faces", f"{len(confident)}, of which the largest two have {sizes}")
    distance = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    if distance < params.min_eye_distance:
        raise Rejection("small_face", f"{distance:.1f} pixels between the eyes")
    if head_turn(face.landmarks) > params.most_turn:
        raise Rejection("turned_face", f"a turn of {head_turn(face.landmarks):.2f}")
    return face


def head_turn(landmarks: NDArray[np.float64]) -> float:
    """Return how far a face is turned to a side: 0 if it looks at the camera, 0.5 if the nose is in front of an eye.

    This is the distance from the tip of the nose to the midpoint of the eyes, along the line through the eyes, divided
    by the distance between the eyes.
    """
    left, right, nose = landmarks[:3]
    between = right - left
    return abs(float((nose - (left + right) / 2) @ between / max(float(between @ between), 1e-9)))


def crop_face(photo: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the standard crop, uint8 (112, 112, 3), of the face with these landmarks; black outside the photo."""
    a, b = similarity_transform(landmarks, TEMPLATE)
    if (shrink := abs(a)) < 1:  # average before the turn, or fine detail would become noise
        small = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        stretch = np.array([small.shape[1] / photo.shape[1], small.shape[0] / photo.shape[0]])
        photo, (a, b) = small.astype(np.uint8), similarity_transform((landmarks + 0.5) * stretch - 0.5, TEMPLATE)
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    return cv2.warpAffine(photo, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC).astype(np.uint8)


def align_photo(photo: NDArray[np.uint8], detector: Detector, params: PhotosParams) -> NDArray[np.uint8]:
    """Return the face in a photo, uint8 (height, width, 3), as uint8 (112, 112, 3), RGB, or raise Rejection."""
    return crop_face(photo, choose_face(detector(photo), params).landmarks)
