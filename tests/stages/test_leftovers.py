"""What `check` removes: outputs of `pack` for sources that params.yaml no longer names, and nothing else."""

from pathlib import Path

from small_project import run_stage, write_params

OF_A_SOURCE = (
    "data/attributes/{}.csv",
    "data/packed/{}/00000.npy",
    "data/rejected/{}.csv",
    "metrics/pack@{}.json",
    "metrics/pack/{}.png",
)


def files() -> set[str]:
    return {path.as_posix() for folder in ("data", "metrics") for path in Path(folder).rglob("*") if path.is_file()}


def test_what_pack_left_of_a_source_that_is_gone_is_removed(project: Path) -> None:
    before = files()
    assert {path.format("drawn") for path in OF_A_SOURCE} <= before
    for name in ("gone", "drawn-too"):  # the second begins like the source that stays
        for pattern in OF_A_SOURCE:
            path = Path(pattern.format(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"left")
    Path("data/packed/.0123.tmp").mkdir()  # of a stage at work
    run_stage("check")
    assert files() == {*before, "data/checked.txt"}
    assert Path("data/packed/.0123.tmp").is_dir()


def test_a_source_that_is_named_again_keeps_its_files(project: Path) -> None:
    before = files()
    write_params(project, sources={"drawn": {"path": "images"}})
    run_stage("check")
    assert files() == {*before, "data/checked.txt"}
