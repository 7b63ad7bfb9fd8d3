"""Draw the pictures of README and docs/ from what the last `make repro report` left.

    docs/dag.svg       the stages, and which needs which
    docs/faces.jpg     some of the faces that `synthesize` drew
    docs/curves.png    ROC, and loss and AUC in training
    docs/report.png    the top of the report, by Chromium or Chrome; left as it is where there is none

Run     make pictures     (after `make repro report`)
"""

import re
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import networkx as nx
import pandas as pd
import yaml
from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout
from PIL import Image

from faces.core.pipeline import DVC_FILES, TEST_SET_STAGES
from faces.reporting.plots import AXES

DAG, FACES, CURVES, REPORT = (Path(f"docs/{name}") for name in ("dag.svg", "faces.jpg", "curves.png", "report.png"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = "1000,900"  # pixels: the figures, and no faces
CAPTIONS = {  # what a stage does, in three or four words
    "check": "look for errors first",
    "synthesize": "draw the default faces",
    "pack": "decode, align, store",
    "gather": "read a test set",
    "duplicates": "find copies",
    "split": "train and test parts",
    "train": "MobileFaceNet, ArcFace",
    "embed": "image to vector",
    "embed_test": "the same of a test set",
    "identify": "who is it?",
    "mine": "find near neighbours",
    "similarity": "train a Siamese model",
    "pairs": "draw pairs to score",
    "evaluate": "accuracy, threshold",
    "score": "score a test set",
    "review": "show what goes wrong",
    "export": "Keras, LiteRT, ONNX",
    "card": "write the model card",
}
BOX = (158, 42)  # pixels
FACE_ROWS, FACE_COLUMNS, PIXELS = 4, 10, 112


def stage_graph() -> nx.DiGraph:
    """Return the stages, those of a test set too, without the arrows that another way makes superfluous."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (*DVC_FILES, "params.yaml"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path)
        params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        params["test_sets"] = {"other": {"format": "lfw", "images": "images", "pairs": "pairs.txt"}}
        (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
        command = ["dvc", "dag", "--mermaid"]
        text = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    names = {node: name.rpartition(":")[2].partition("@")[0] for node, name in re.findall(r'(node\d+)\["(.*)"\]', text)}
    graph = nx.DiGraph((names[a], names[b]) for a, b in re.findall(r"(node\d+)-->(node\d+)", text))
    return nx.transitive_reduction(graph)


class View:
    """Size of a box, and the place that the layout gives it."""

    w, h = BOX
    xy = (0.0, 0.0)


class Line:
    """The corners of an arrow, which the layout leads around boxes."""

    def __init__(self) -> None:
        """Begin with none."""
        self.points: list[tuple[float, float]] = []

    def setpath(self, points: list[tuple[float, float]]) -> None:
        """Take the corners."""
        self.points = points


def lay_out(graph: nx.DiGraph) -> tuple[dict[str, tuple[float, float]], list[list[tuple[float, float]]]]:
    """Return the centre of each box, and the corners of each arrow: each stage below all that it needs."""
    nodes = {name: Vertex(name) for name in sorted(graph)}
    for node in nodes.values():
        node.view = View()
    edges = [Edge(nodes[a], nodes[b]) for a, b in sorted(graph.edges)]
    for edge in edges:
        edge.view = Line()
    layout = SugiyamaLayout(Graph(list(nodes.values()), edges).C[0])
    layout.xspace, layout.yspace = 26, 30
    layout.init_all()
    layout.draw(8)
    return {name: node.view.xy for name, node in nodes.items()}, [edge.view.points for edge in edges]


def draw_stages(graph: nx.DiGraph) -> str:
    """Return the graph as SVG, with text that can be read and searched."""
    places, lines = lay_out(graph)
    width, height = BOX
    left, top = (min(place[axis] for place in places.values()) - BOX[axis] / 2 - 4 for axis in (0, 1))
    right, bottom = (max(place[axis] for place in places.values()) + BOX[axis] / 2 + 4 for axis in (0, 1))
    shapes = []
    for points in lines:
        (x0, y0), *between, (x1, y1) = points
        corners = [(x0, y0 + height / 2), *between, (x1, y1 - height / 2 - 2)]
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in corners)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="#8795a5" marker-end="url(#tip)"/>')
    for name, (x, y) in places.items():
        dashed = ' stroke-dasharray="5 3"' if name in TEST_SET_STAGES else ""
        box = f'x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width}" height="{height}" rx="6"'
        shapes += [
            f'<rect {box} fill="#eef3f8" stroke="#5c6a7a"{dashed}/>',
            f'<text x="{x:.0f}" y="{y - 3:.0f}" font-weight="bold">{name}</text>',
            f'<text x="{x:.0f}" y="{y + 13:.0f}" font-size="11.5" fill="#445">{escape(CAPTIONS[name])}</text>',
        ]
    size = f'width="{right - left:.0f}" height="{bottom - top:.0f}"'
    view = f'viewBox="{left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}"'
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#8795a5"/></marker>'
    )
    background = f'<rect x="{left:.0f}" y="{top:.0f}" {size} fill="white"/>'
    font = 'font-family="Helvetica, Arial, sans-serif" font-size="14" text-anchor="middle"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} {font}>'
    return "\n".join([head, f"<defs>{tip}</defs>", background, *shapes, "</svg>"]) + "\n"


def draw_faces(path: Path) -> None:
    """Save the first faces of the contact sheet: a row an identity."""
    sheet = Image.open("data/synthetic/contact_sheet.png").convert("RGB")
    sheet.crop((0, 0, FACE_COLUMNS * PIXELS, FACE_ROWS * PIXELS)).save(path, quality=80)


def draw_curves(path: Path) -> None:
    """Save the ROC of each part, and loss and AUC after each epoch, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    roc_axes, loss_axes, auc_axes = figure.subplots(1, 3)
    for name, rows in pd.read_csv("metrics/evaluate/roc.csv").groupby("set", sort=False):
        roc_axes.plot(rows["fmr"], rows["tar"], label=name)
    roc_axes.set(xscale="log", xlabel=AXES["fmr"], ylabel=AXES["tar"], title="ROC", ylim=(0, 1.02))
    roc_axes.legend()
    axes: Any
    for axes, name, title in ((loss_axes, "loss", "training: loss"), (auc_axes, "validation_auc", "training: AUC")):
        table = pd.read_csv(f"metrics/train/plots/metrics/{name}.tsv", sep="\t")
        axes.plot(table["step"] + 1, table[name], marker="o", markersize=3)
        axes.set(xlabel=AXES["epoch"], ylabel=AXES[name], title=title)
    for axes in (roc_axes, loss_axes, auc_axes):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def photograph(page: Path, path: Path) -> None:
    """Take a picture of a page's top, if there is a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        print(f"{path} is left as it is: none of {', '.join(BROWSERS)} is installed")
        return
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WINDOW}"]
    command = [browser, *flags, f"--screenshot={path.resolve()}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Draw all of them."""
    DAG.write_text(draw_stages(stage_graph()), encoding="utf-8")
    draw_faces(FACES)
    draw_curves(CURVES)
    photograph(Path("report.html"), REPORT)


if __name__ == "__main__":
    main()
