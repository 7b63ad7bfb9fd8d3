"""A file of experiments beside a project that can run them."""

from pathlib import Path

import pytest

from small_project import ROOT
from study_file import STUDY


@pytest.fixture
def study(in_new_folder: None, tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    Path("models").mkdir()
    Path("metrics").mkdir()
    return path
