"""The small project that has run from end to end, once for all slow tests. Shared: copy or clone it to change it."""

from pathlib import Path

import pytest

from small_project import PIPELINE, commit, dvc, new_checkout, ran


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = new_checkout(tmp_path_factory.mktemp("uninterrupted") / "project")
    assert ran(dvc(folder, "repro")) == PIPELINE
    commit(folder, "run")
    return folder
