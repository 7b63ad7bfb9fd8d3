import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from faces.core import checkpoints
from faces.core.checkpoints import EpochCheckpoints, ResumableFile, checkpoint_folder, finish_checkpoints
from faces.core.pipeline import code_files


class Values(BaseModel):
    seed: int = 0


DVC_YAML = """
stages:
  train: {deps: [stages/train.py, stages/faces/core, data/table.csv]}
  embed: {deps: [stages/embed.py, stages/faces/core]}
"""


def test_a_folder_belongs_to_one_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    stages, table = tmp_path / "stages", tmp_path / "table.csv"
    for room in ("core", "drawing"):
        (stages / "faces" / room).mkdir(parents=True)
    for path in (stages / "train.py", stages / "embed.py", stages / "faces/core/files.py", table):
        path.write_text("one", encoding="utf-8")
    monkeypatch.setattr(checkpoints, "code_files", partial(code_files, root=tmp_path))
    folders = [checkpoint_folder("train", Values(), [table]), checkpoint_folder("embed", Values(), [table])]
    assert checkpoint_folder("train", Values(), [table]) == folders[0]
    (stages / "faces/drawing/head.py").write_text("of another stage", encoding="utf-8")
    (stages / "embed.py").write_text("two", encoding="utf-8")
    assert checkpoint_folder("train", Values(), [table]) == folders[0]
    folders.append(checkpoint_folder("train", Values(seed=1), [table]))
    for path in (table, stages / "train.py", stages / "faces/core/files.py"):
        path.write_text("two", encoding="utf-8")
        folders.append(checkpoint_folder("train", Values(), [table]))
    monkeypatch.setattr(checkpoints, "version", "{}.0".format)
    folders.append(checkpoint_folder("train", Values(), [table]))
    monkeypatch.setattr(checkpoints, "portable", lambda: True)
    folders.append(checkpoint_folder("train", Values(), [table]))
    assert len(set(folders)) == len(folders) == 8
    assert all(folder.parent.parent == Path("models/checkpoints") for folder in folders)


def test_finished_work_goes_and_unfinished_work_of_others_stays(tmp_path: Path) -> None:
    for name in ("embed/old", "embed/cut_off", "embed/own", "train/other"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("embed/old", "train/other"):
        (tmp_path / name / "finished").touch()

    def left() -> list[str]:
        return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))

    (tmp_path / "output").touch()
    finish_checkpoints(tmp_path / "embed/own", output=tmp_path / "output")
    assert left() == ["embed/cut_off", "embed/own", "train/other"]
    finish_checkpoints(tmp_path / "embed/own")
    assert left() == ["embed/cut_off", "train/other"]


def test_a_stage_that_is_run_again_works_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = checkpoint_folder("train", Values())
    folder.mkdir(parents=True)
    (folder / "1.npy").touch()
    assert checkpoint_folder("train", Values()) == folder and (folder / "1.npy").exists()
    Path("output").write_bytes(b"abc")
    finish_checkpoints(folder, output=Path("output"))
    Path("dvc.lock").write_text("md5: of something else\n", encoding="utf-8")
    # DVC was killed before it could record the output, which it removes before the stage runs again.
    assert checkpoint_folder("train", Values()) == folder and (folder / "1.npy").exists()
    Path("dvc.lock").write_text("md5: 900150983cd24fb0d6963f7d28e17f72\n", encoding="utf-8")  # RFC 1321, of "abc"
    assert checkpoint_folder("train", Values()) == folder and not folder.exists()


def test_ignored_parameters_do_not_change_the_folder() -> None:
    folders = {checkpoint_folder("train", Values(seed=seed), ignored={"seed"}) for seed in (1, 2)}
    assert len(folders) == 1


def append(path: Path, *pieces: bytes) -> list[int]:
    """Append pieces, each with its length as the note; return the notes of earlier runs."""
    with ResumableFile(path) as target:
        for piece in pieces:
            target.file.write(piece)
            target.note(len(piece))
        return target.notes


def test_a_resumable_file_goes_on_after_its_last_note(tmp_path: Path) -> None:
    path = tmp_path / "work/file"
    assert append(path, b"one", b"three") == []
    with pytest.raises(KeyboardInterrupt), ResumableFile(path) as target:
        target.file.write(b"four")
        target.note(4)
        target.file.write(b"half of the next")
        raise KeyboardInterrupt
    assert append(path, b"seven") == [3, 5, 4]
    assert path.read_bytes() == b"onethreefourseven"


def test_an_interrupt_while_notes_are_written_does_not_write_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "file", json.dumps
    calls = iter([False, True, False, False])

    def interrupted(note: object) -> str:
        if next(calls):
            raise KeyboardInterrupt
        return real(note)

    with pytest.raises(KeyboardInterrupt), ResumableFile(path) as target:
        for piece in (b"one", b"three"):
            target.file.write(piece)
            target.note(len(piece))
        monkeypatch.setattr(checkpoints.json, "dumps", interrupted)
        target._sync()
    monkeypatch.undo()
    assert append(path, b"seven") in ([], [3], [3, 5])
    assert path.read_bytes() in (b"seven", b"oneseven", b"onethreeseven")
    assert len(path.read_bytes()) == sum(append(path))


def test_no_note_is_written_before_its_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    monkeypatch.setattr(checkpoints, "SYNC_SECONDS", 0)
    killed = ResumableFile(path)
    killed.file.write(b"synced")
    killed.note("synced")
    monkeypatch.setattr(checkpoints, "SYNC_SECONDS", 1000)
    killed.file.write(b" waiting")
    killed.note("waiting")
    killed.file.flush()  # and here the process is killed
    with ResumableFile(path) as target:
        assert target.notes == ["synced"] and path.read_bytes() == b"synced"
    killed.file.close()


@pytest.mark.parametrize("notes", [b"[3, 3]\n[8, 5", b"[3, 3]\n[8, 5]", b"[3, 3]\n\0\0\0\n", b"[3, 3]\n[9, 5]\n"])
def test_a_torn_note_and_what_follows_do_not_count(tmp_path: Path, notes: bytes) -> None:
    path = tmp_path / "file"
    append(path, b"one", b"three")
    (tmp_path / "file.notes").write_bytes(notes)
    assert append(path, b"seven") == [3]
    assert append(path) == [3, 5]
    assert path.read_bytes() == b"oneseven"


class Variable:
    def __init__(self, value: float) -> None:
        self.assign(np.array([value, -value], np.float32))

    def assign(self, value: np.ndarray) -> None:
        self.value = value

    def __array__(self, dtype: object = None) -> np.ndarray:
        return self.value


def test_the_newest_epochs_are_kept_and_restored(tmp_path: Path) -> None:
    epochs = EpochCheckpoints(tmp_path / "key", keep=2)
    assert epochs.restore([Variable(0)]) == []
    for epoch in (1, 2, 3):
        epochs.save([Variable(epoch), Variable(10 * epoch)], [{"loss": 1 / n} for n in range(1, epoch + 1)])
    assert sorted(path.name for path in (tmp_path / "key").iterdir()) == ["epoch_0002.npz", "epoch_0003.npz"]
    variables = [Variable(0), Variable(0)]
    assert epochs.restore(variables) == [{"loss": 1 / n} for n in (1, 2, 3)]
    assert [variable.value.tolist() for variable in variables] == [[3, -3], [30, -30]]


def test_epochs_are_in_order_beyond_four_digits(tmp_path: Path) -> None:
    epochs = EpochCheckpoints(tmp_path, keep=2)
    for epoch in (9999, 10000, 10001):
        epochs.save([Variable(epoch)], [{"loss": 1.0}] * epoch)
    variables = [Variable(0)]
    assert len(epochs.restore(variables)) == 10001 and variables[0].value[0] == 10001


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: bytes | None) -> None:
    epochs = EpochCheckpoints(tmp_path, keep=2)
    for epoch in (1, 2):
        epochs.save([Variable(epoch)], [{"loss": 1.0}] * epoch)
    newest = tmp_path / "epoch_0002.npz"
    newest.write_bytes(newest.read_bytes()[:-30] if damage is None else damage)
    variables = [Variable(0)]
    assert epochs.restore(variables) == [{"loss": 1.0}]
    assert variables[0].value.tolist() == [1, -1]
