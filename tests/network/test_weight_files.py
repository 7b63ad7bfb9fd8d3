"""Which network a file of weights is of, told by files of Keras 2.15 and of this pipeline, without TensorFlow."""

import gzip
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from faces.core.errors import StageError
from faces.network import mobilefacenet
from faces.network.architecture import Architecture
from faces.network.weight_files import differences
from faces.network.weights import save_weights

DATA = Path(__file__).parents[1] / "data" / "keras2"
NOTEBOOK = Architecture(width=0.25, embedding_size=512, head="notebook", pixel_range="unit")


@pytest.mark.parametrize(
    "name", ["backbone.h5", "backbone_weights.h5", "backbone.weights.h5", "training.h5", "siamese.h5"]
)
def test_files_of_the_notebook(name: str, tmp_path: Path) -> None:
    """tests/make_keras2_weights.py made them, of the notebook's network with a quarter of its channels."""
    path = tmp_path / name
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    assert differences(path, NOTEBOOK) == {}
    other = Architecture(width=0.5, embedding_size=128, head="linear", pixel_range="unit")
    assert differences(path, other) == {
        "width": (0.5, 0.25),
        "head": ("linear", "notebook"),
        "embedding_size": (128, 512),
    }


@pytest.mark.parametrize(("width", "head"), [(0.01, "linear"), (0.18, "linear"), (0.1875, "notebook")])
def test_the_value_in_the_message_is_one_that_fits(width: float, head: str, tmp_path: Path) -> None:
    """0.18 and 0.1875 differ in the stem alone (8 and 16 channels); both have 96 in the widest layer."""
    path = tmp_path / "saved.weights.h5"
    save_weights(mobilefacenet.build(width, 16, head), path)  # type: ignore[arg-type]
    own = Architecture(width=width, embedding_size=16, head=head, pixel_range="unit")  # type: ignore[arg-type]
    assert differences(path, own) == {}
    named = differences(path, own.model_copy(update={"width": 1.0}))
    assert set(named) == {"width"}
    assert differences(path, own.model_copy(update={"width": named["width"][1]})) == {}


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    h5py.File(path, "w").close()
    with pytest.raises(StageError, match=r"x\.h5 holds no weights"):
        differences(path, NOTEBOOK)
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 4))
    with pytest.raises(StageError, match="another network than this pipeline's MobileFaceNet"):
        differences(path, NOTEBOOK)


def test_tensorflow_is_not_imported() -> None:
    code = "import sys, faces.network.weight_files; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
