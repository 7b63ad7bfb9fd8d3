"""The trained backbone on disk: its weights, and the architecture that rebuilds the network for them."""

from pathlib import Path

from faces.core.errors import StageError
from faces.core.files import require_file, write_text
from faces.core.json_files import parse_json
from faces.core.params import check_params
from faces.network import mobilefacenet
from faces.network.architecture import Architecture
from faces.network.runtime import keras
from faces.network.weights import load_weights, save_weights

WEIGHTS_PATH = Path("models/backbone.weights.h5")
ARCHITECTURE_PATH = Path("models/backbone.json")


def save_backbone(backbone: keras.Model, architecture: Architecture) -> None:
    """Write the weights of a network and the architecture that it was built with."""
    save_weights(backbone, WEIGHTS_PATH)
    write_text(ARCHITECTURE_PATH, architecture.model_dump_json(indent=2) + "\n")


def load_backbone() -> keras.Model:
    """Return the trained network; StageError if a file is missing or weights and architecture do not match."""
    require_file(ARCHITECTURE_PATH)
    try:
        architecture = parse_json(ARCHITECTURE_PATH.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{ARCHITECTURE_PATH} is missing; `dvc repro train` makes it, `dvc pull` fetches it") from None
    except ValueError as error:
        raise StageError(f"{ARCHITECTURE_PATH}: {error}") from None
    checked = check_params(architecture, Architecture, str(ARCHITECTURE_PATH))
    backbone = mobilefacenet.build(**checked.model_dump())
    load_weights(backbone, WEIGHTS_PATH)
    return backbone
