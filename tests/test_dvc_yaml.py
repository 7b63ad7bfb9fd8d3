"""dvc.yaml against the code, and what reruns after a change against a table written by hand."""

import ast
import shutil
import subprocess
from pathlib import Path
from typing import Any

import networkx
import pytest
import yaml
from dvc.dependency import Dependency
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides
from tools.without_dvc import stage_commands

from faces.core.pipeline import STAGES
from small_project import ROOT, dvc, needs_default_data

pytestmark = needs_default_data

SECTIONS = {"gather": "decoding", "embed_test": "embed"}  # of stages that have no section of their own
AFTER_EVALUATE = "evaluate score review export card"
AFTER_TRAIN = f"embed embed_test identify mine similarity {AFTER_EVALUATE}"
AFTER_SPLIT = f"train {AFTER_TRAIN} pairs"

# What is changed -> the stages that must run, and no others. A stage reruns if what it reads has changed.
RERUN = {
    "synthesize.subjects": f"synthesize pack duplicates split {AFTER_SPLIT}",
    "pack.max_images_per_subject": f"pack duplicates split {AFTER_SPLIT}",
    "decoding.min_side": f"pack gather duplicates split {AFTER_SPLIT}",
    "runtime.threads": f"pack gather duplicates split {AFTER_SPLIT}",
    "runtime.portable": f"synthesize pack gather duplicates split {AFTER_SPLIT}",
    "external/pairs.txt": "gather embed_test score card",
    "duplicates.neighbours": f"duplicates split {AFTER_SPLIT}",
    "split.test_size": f"split {AFTER_SPLIT}",
    "split.validation_size": f"split {AFTER_SPLIT}",
    "split.validation_subjects": f"split {AFTER_SPLIT}",
    "train.margin": f"train {AFTER_TRAIN}",
    "embed.flip": AFTER_TRAIN,
    "embed.workers": AFTER_TRAIN,
    "identify.neighbours": "identify card",
    "mine.radius": f"mine similarity {AFTER_EVALUATE}",
    "similarity.epochs": f"similarity {AFTER_EVALUATE}",
    "pairs.anchors": f"pairs {AFTER_EVALUATE}",
    "evaluate.most_images": AFTER_EVALUATE,
    "metrics.bootstrap": f"identify {AFTER_EVALUATE}",
    "score.likeness": "score card",
    "review.worst_pairs": "review card",
    "export.seed": "export card",
    "card.name": "card",
    "stages/mine.py": f"mine similarity {AFTER_EVALUATE}",
    "stages/faces/search/lsh.py": f"mine similarity {AFTER_EVALUATE}",
    "stages/faces/drawing/head.py": f"synthesize pack duplicates split {AFTER_SPLIT}",
    "stages/faces/evaluation/roc.py": f"train {AFTER_TRAIN}",
    "stages/faces/evaluation/metrics.py": f"identify {AFTER_EVALUATE}",
    "stages/faces/reporting/comparison.py": "card",
    "README.md": "",
}

ALWAYS = "check"  # runs each time, and reruns nothing, since its output never changes

# DVC's graph answers for all of them; these four are run too, which takes seconds each, and two of them by `make test`.
slow_by_the_graph = pytest.mark.slow  # `make test` asks the graph alone about these
RUN_FOR_REAL = (
    "train.margin",
    "README.md",
    pytest.param("stages/faces/search/lsh.py", marks=slow_by_the_graph),
    pytest.param("external/pairs.txt", marks=slow_by_the_graph),
)

# Stands in for every stage's script: writes, into each output, a hash of all that dvc.yaml says the stage reads.
STAND_IN = """
import hashlib, sys, yaml
from pathlib import Path

name = Path(sys.argv[0]).stem
with open("ran.txt", "a") as log:
    log.write(name + "\\n")
home = Path("data/synthetic/dvc.yaml" if name == "synthesize" else "dvc.yaml")
params = yaml.safe_load(Path("params.yaml").read_text())
stage = yaml.safe_load(home.read_text())["stages"][name]
for key, value in {"${key}": sys.argv[-1], "${item.path}": params["sources"]["synthetic"]["path"],
                   "${item.images}": "external/images", "${item.pairs}": "external/pairs.txt",
                   "${train.initial_weights}": params["train"]["initial_weights"],
                   "${train.teacher}": params["train"]["teacher"]}.items():
    stage = yaml.safe_load(yaml.safe_dump(stage).replace(key, value))
stage = stage.get("do", stage)
read = [params if isinstance(key, dict) else params[key.split(".")[0]] for key in stage["params"]]
digest = hashlib.sha256(repr(read).encode() if name != "check" else b"")
for dep in stage.get("deps", []):
    for path in sorted(Path(dep).rglob("*")) if Path(dep).is_dir() else [Path(dep)]:
        if path.is_file():
            digest.update(path.read_bytes())
for out in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
    path = Path(out if isinstance(out, str) else next(iter(out)))
    if not path.suffix:
        path = path / "content.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    number = int(digest.hexdigest()[:12], 16)
    path.write_text('{"digest": %d}' % number if path.suffix == ".json" else digest.hexdigest())
"""


def stage_of(name: str) -> dict[str, Any]:
    path = ROOT / ("data/synthetic/dvc.yaml" if name == "synthesize" else "dvc.yaml")
    stage = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"][name]
    return stage.get("do", stage)


def names(entries: list[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def directly_imported(script: Path) -> set[Path]:
    """Return the modules of stages/faces/ that a script imports, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    paths = {ROOT / "stages" / (name.replace(".", "/") + ".py") for name in names if name.startswith("faces.")}
    return {path for path in paths if path.exists()}


def imported(script: Path, found: set[Path]) -> set[Path]:
    """Return `found` and the modules of stages/faces/ that a script imports, directly or through another."""
    for path in directly_imported(script) - found:
        found = imported(path, found | {path})
    return found


def covers(dep: str, path: Path) -> bool:
    return ROOT / dep in (path, *path.parents)


@pytest.mark.parametrize("name", [name for name in STAGES if name != ALWAYS])
def test_deps_cover_the_script_and_what_it_imports_and_nothing_else(name: str) -> None:
    script = ROOT / f"stages/{name}.py"
    code = {script, *imported(script, set())}
    listed = [dep for dep in stage_of(name)["deps"] if dep.startswith("stages/")]
    for path in code:  # once: a file beside its own folder would be a second entry for the same content
        assert sum(covers(dep, path) for dep in listed) == 1, path
    for dep in listed:
        assert any(covers(dep, path) for path in code), dep


def test_every_shared_file_is_used() -> None:
    commands = set((ROOT / "stages/faces/commands").glob("*.py"))
    scripts = {ROOT / f"stages/{name}.py" for name in STAGES} | commands
    used = commands.union(*(imported(script, set()) for script in scripts))
    modules = {path for path in (ROOT / "stages/faces").rglob("*.py") if path.name != "__init__.py"}
    assert used - modules == {ROOT / "stages/faces/commands/__init__.py"}
    assert modules <= used


@pytest.mark.parametrize("name", STAGES)
def test_one_name_everywhere(name: str) -> None:
    stage = stage_of(name)
    assert stage["cmd"].split()[:2] == ["python", f"stages/{name}.py"]
    if name in ("check", "card"):  # they read all parameters, and have no figures of their own
        assert names(stage["params"]) == ["params.yaml"] and "metrics" not in stage
    else:
        assert {name, SECTIONS.get(name)} & {*stage["params"]}
        reported = {Path(path).name.split("@")[0].removesuffix(".json") for path in names(stage["metrics"])}
        assert {name, SECTIONS.get(name)} & reported
    assert name in yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) or name in (*SECTIONS, ALWAYS)


def test_every_root_waits_for_the_check() -> None:
    written = {name: names(stage_of(name).get("outs", [])) for name in STAGES}
    for name in STAGES:
        deps = stage_of(name).get("deps", [])
        waits = any(dep.startswith("data/") or dep == "metrics" for dep in deps)
        assert waits == (name != ALWAYS), name  # on another stage's output, or on the file of `check`
        others = [dep for dep in deps if dep.startswith("data/") and dep != "data/checked.txt"]
        assert (written["check"][0] in deps) == (not others and name not in (ALWAYS, "card")), name
    assert stage_of(ALWAYS)["always_changed"] and written[ALWAYS] == ["data/checked.txt"]


@pytest.mark.parametrize("name", STAGES)
def test_what_git_keeps_is_a_metric_or_a_plot(name: str) -> None:
    """DVC's run cache, which brings back what was computed before, has no run with other outputs outside the cache."""
    outputs = [next(iter(entry.values())) for entry in stage_of(name).get("outs", []) if isinstance(entry, dict)]
    assert all(options.get("cache", True) for options in outputs)


@pytest.mark.parametrize("name", STAGES)
def test_what_dvc_caches_is_ignored_by_git_and_the_rest_is_not(name: str) -> None:
    stage = stage_of(name)
    for kind in ("outs", "metrics", "plots"):
        for entry in stage.get(kind, []):
            path, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
            path = path.replace("${key}", "synthetic")
            ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0
            assert ignored == options.get("cache", True), path


def test_every_parameter_has_a_comment() -> None:
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("  ") and not line.startswith("  - "):  # the items of a list, whose key has the comment
            assert " # " in line, line


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with stand-ins for its stages, run once."""
    folder = tmp_path_factory.mktemp("stand_in") / "project"
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in STAGES:
        (folder / f"stages/{name}.py").write_text(STAND_IN, encoding="utf-8")
    (folder / "data/synthetic").mkdir(parents=True)
    (folder / "models").mkdir()
    for path in (
        "data/synthetic/dvc.yaml",
        "dvc.yaml",
        "params.yaml",
        "models/from_scratch",
        "models/no_teacher",
        ".dvcignore",
    ):
        shutil.copy(ROOT / path, folder / path)
    (folder / "README.md").touch()
    (folder / "external/images").mkdir(parents=True)
    (folder / "external/pairs.txt").touch()
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params["test_sets"] = {"lfw": {"format": "lfw", "images": "external/images", "pairs": "external/pairs.txt"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    dvc(folder, "init", "--no-scm", "--quiet")
    assert ran_by_repro(folder) == list(STAGES)
    return folder


def ran_by_repro(folder: Path) -> list[str]:
    log = folder / "ran.txt"
    log.write_text("", encoding="utf-8")
    dvc(folder, "repro", "--quiet")
    return sorted(log.read_text(encoding="utf-8").split(), key=STAGES.index)


def change(folder: Path, what: str) -> None:
    if what.endswith((".py", ".md", ".txt")):
        path = folder / what
        path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
        return
    section, key = what.split(".")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params[section][key] += type(params[section][key])(1)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def reads(dep: Dependency, what: str, folder: Path) -> bool:
    """Tell whether a dependency of DVC covers a parameter `section.key` or a file."""
    is_file = what.endswith((".py", ".md", ".txt"))
    if isinstance(dep, ParamsDependency):
        return not is_file and (not dep.params or any(f"{what}.".startswith(f"{param}.") for param in dep.params))
    return is_file and Path(dep.fs_path) in (folder / what, *(folder / what).parents)


@pytest.mark.parametrize("what", RERUN)
@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, which DVC uses
def test_a_change_affects_the_stages_that_read_it_and_all_that_need_them(stand_in: Path, what: str) -> None:
    with Repo(stand_in) as repo:
        graph = repo.index.graph  # an edge leads from a stage to one that it needs
        readers = [
            stage for stage in graph if stage.name != ALWAYS and any(reads(dep, what, stand_in) for dep in stage.deps)
        ]
        found = {stage for reader in readers for stage in (reader, *networkx.ancestors(graph, reader))}
    names_of_stages = {stage.addressing.rpartition(":")[2].partition("@")[0] for stage in found}
    assert sorted(names_of_stages, key=STAGES.index) == sorted(RERUN[what].split(), key=STAGES.index)


@pytest.mark.parametrize("what", RUN_FOR_REAL)
def test_a_change_reruns_what_it_affects_and_nothing_else(stand_in: Path, what: str) -> None:
    change(stand_in, what)
    assert ran_by_repro(stand_in) == sorted([ALWAYS, *RERUN[what].split()], key=STAGES.index)


def without_the_synthetic_source(stand_in: Path) -> None:
    (stand_in / "mine").mkdir(exist_ok=True)
    (stand_in / "mine/x.png").touch()
    params = yaml.safe_load((stand_in / "params.yaml").read_text(encoding="utf-8"))
    params["sources"] = {"synthetic": {"path": "mine"}}
    (stand_in / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def need_the_drawing(folder: Path) -> set[str]:
    """Return the names of all stages that need `synthesize`, directly or through another."""
    with Repo(folder) as repo:
        graph = repo.index.graph
        (drawing,) = [stage for stage in graph if stage.addressing.endswith(":synthesize")]
        return {stage.addressing.rpartition(":")[2].partition("@")[0] for stage in networkx.ancestors(graph, drawing)}


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, which DVC uses
def test_only_with_the_synthetic_source_does_any_stage_need_its_drawing(stand_in: Path) -> None:
    before = (stand_in / "params.yaml").read_bytes()
    assert need_the_drawing(stand_in) == {*STAGES} - {ALWAYS, "synthesize", "gather"}
    without_the_synthetic_source(stand_in)
    try:
        assert need_the_drawing(stand_in) == set()
    finally:
        (stand_in / "params.yaml").write_bytes(before)


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, which DVC uses
@pytest.mark.parametrize("synthetic", [True, False])
def test_without_dvc_each_stage_runs_after_all_that_it_needs(
    stand_in: Path, synthetic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (stand_in / "params.yaml").read_bytes()
    if not synthetic:
        without_the_synthetic_source(stand_in)
    monkeypatch.chdir(stand_in)
    try:
        place = {f"python {' '.join(command)}": number for number, command in enumerate(stage_commands())}
        with Repo(stand_in) as repo:
            graph = repo.index.graph
            commands = {stage.cmd for stage in graph}
            assert {*place} == (commands if synthetic else commands - {"python stages/synthesize.py"})
            for stage, needed in graph.edges:
                if stage.cmd in place:
                    assert place[needed.cmd] < place[stage.cmd]
    finally:
        (stand_in / "params.yaml").write_bytes(before)


@pytest.mark.slow  # ten seconds; the test above asks the graph
def test_without_the_synthetic_source_nothing_is_rendered(stand_in: Path) -> None:
    without_the_synthetic_source(stand_in)
    shutil.rmtree(stand_in / "data/synthetic")  # what was drawn, and its lock file
    shutil.copytree(
        ROOT / "data/synthetic", stand_in / "data/synthetic", ignore=shutil.ignore_patterns("*.lock", "im*")
    )
    shutil.rmtree(stand_in / ".dvc/cache")
    assert "synthesize" not in ran_by_repro(stand_in)
    assert not (stand_in / "data/synthetic/images").exists()


def test_packages_hold_a_docstring_alone_and_import_each_other_without_a_cycle() -> None:
    needs: dict[str, set[str]] = {}
    for path in (ROOT / "stages/faces").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "__init__.py":  # which dvc.yaml need not name
            assert ast.get_docstring(tree) and len(tree.body) == 1, path
        rooms = {other.parent.name for other in directly_imported(path)}
        needs.setdefault(path.parent.name, set()).update(rooms - {path.parent.name})
    graph = networkx.DiGraph((room, other) for room, others in needs.items() for other in others)
    assert networkx.is_directed_acyclic_graph(graph), list(networkx.simple_cycles(graph))


def test_an_experiment_changes_only_its_own_line_of_params_yaml(tmp_path: Path) -> None:
    """`dvc exp run -S` writes the file in DVC's layout, which is therefore the layout that it has."""
    copy = tmp_path / "params.yaml"
    shutil.copyfile(ROOT / "params.yaml", copy)
    apply_overrides(copy, ["train.epochs=99"])
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (ROOT / "params.yaml", copy))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [new.strip().startswith("epochs: 99 #") for _, new in changed] == [True]
