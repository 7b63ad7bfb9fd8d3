"""Draw the pictures of README: the graph of stages, docs/dag.svg, and the top of the report, docs/report.png.

Run     python -m benchmarks.pictures     (or `make pictures`; after `make repro report`)

The report is taken by Chromium or Chrome, where there is one.
"""

import re
import shutil
import subprocess
from pathlib import Path

import networkx as nx

DAG, REPORT = Path("docs/dag.svg"), Path("docs/report.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = "1000,1120"  # pixels: the figures, and no faces


def stage_graph() -> nx.DiGraph:
    """Return the stages with the arrows that no way around makes superfluous."""
    text = subprocess.run(["dvc", "dag", "--mermaid"], check=True, capture_output=True, text=True).stdout
    names = {node: name.rpartition(":")[2].partition("@")[0] for node, name in re.findall(r'(node\d+)\["(.*)"\]', text)}
    graph = nx.DiGraph((names[a], names[b]) for a, b in re.findall(r"(node\d+)-->(node\d+)", text))
    return nx.transitive_reduction(graph)


def draw(graph: nx.DiGraph, path: Path) -> None:
    """Draw a graph from left to right, each stage after all that it needs."""
    from matplotlib.figure import Figure

    places = {}
    for x, generation in enumerate(nx.topological_generations(graph)):
        for row, name in enumerate(sorted(generation)):
            places[name] = (x, (len(generation) - 1) / 2 - row)
    figure = Figure(figsize=(12, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    for a, b in graph.edges:
        arrow = {"arrowstyle": "->", "color": "#8795a5", "shrinkA": 24, "shrinkB": 30}
        axes.annotate("", places[b], places[a], arrowprops=arrow)
    for name, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3f8", "edgecolor": "#5c6a7a"}
        axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box)
    axes.set_xlim(-0.6, max(x for x, _ in places.values()) + 0.6)
    axes.set_ylim(min(y for _, y in places.values()) - 0.5, max(y for _, y in places.values()) + 0.5)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


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
    """Draw both."""
    draw(stage_graph(), DAG)
    photograph(Path("report.html"), REPORT)


if __name__ == "__main__":
    main()
