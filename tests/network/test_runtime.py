import json
import os
import subprocess
import sys
from pathlib import Path

from small_project import ROOT

SCRIPT = """
import os
from faces.network.runtime import keras
settings = [keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(), keras.config.max_epochs()]
print(settings, keras.backend.backend(), os.environ.keys() & CHANGED)
"""
CHANGED = {"KERAS_MAX_EPOCHS": "1", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}


def test_neither_a_home_folder_nor_the_environment_changes_what_is_computed(tmp_path: Path) -> None:
    settings = {"floatx": "float16", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras/keras.json").write_text(json.dumps(settings))
    environment = os.environ | CHANGED | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "stages")}
    environment["MPLBACKEND"] = "nonsense"  # which matplotlib would refuse
    environment.pop("KERAS_HOME", None)  # this process has set it already
    script = f"CHANGED = {set(CHANGED)}{SCRIPT}"
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "['float32', 1e-07, 'channels_last', None] tensorflow set()\n"  # Keras's own defaults
    assert f"warning: ignored, since only params.yaml may change results: {', '.join(sorted(CHANGED))}" in ran.stderr
