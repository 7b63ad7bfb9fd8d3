"""Write .dvc/page.html, the page of `dvc plots`, which has its chart library in it and asks the network for nothing.

Run     python -m tools.plots_page     (needs npm; only to take another version of the library)

DVC's own page loads Vega from the web when it is opened. `plots.html_template` in .dvc/config names this one instead.
"""

import re
import subprocess
import tempfile
from pathlib import Path

PAGE = Path(".dvc/page.html")
LIBRARIES = {"vega": "5.33.1", "vega-lite": "5.23.0", "vega-embed": "6.29.0"}  # each needs the one before
STYLE = """
    body { font-family: system-ui, sans-serif; margin: 1.5rem; }
    table { border-spacing: 15px; }
"""


def licences(modules: Path) -> str:
    """Return the licence texts of the packages that npm installed, each once, after the names of its packages."""
    packages: dict[str, list[str]] = {}
    for package in sorted(path.parent for path in modules.rglob("package.json") if (path.parent / "LICENSE").is_file()):
        text = (package / "LICENSE").read_text(encoding="utf-8").strip()
        packages.setdefault(text, []).append(package.name)
    parts = [f"{', '.join(dict.fromkeys(names))}\n\n{text}" for text, names in packages.items()]
    return "\n\n".join(parts).replace("--", "- -")  # which would end an HTML comment


def script(modules: Path, name: str) -> str:
    """Return the minified script of a library; it must be safe inside an HTML page and for DVC's placeholders."""
    text = (modules / name / f"build/{name}.min.js").read_text(encoding="utf-8")
    text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE).strip()
    assert not re.search(r"</script|<!--|\{(scripts|plot_divs|refresh_tag)\}", text), name
    return text


def main() -> None:
    """Fetch the libraries and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = [f"{name}@{version}" for name, version in LIBRARIES.items()]
        command = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--prefix", folder, *wanted]
        subprocess.run(command, check=True)
        modules = Path(folder) / "node_modules"
        notice = licences(modules)
        scripts = "\n".join(
            f"<script>/* {name} {version} */\n{script(modules, name)}\n</script>" for name, version in LIBRARIES.items()
        )
    PAGE.write_text(
        f"""<!DOCTYPE html>
<!-- Made by `python -m tools.plots_page`. The scripts below hold these packages, under these licences:

{notice}
-->
<html lang="en">
<head>
<meta charset="utf-8">
{{refresh_tag}}
<title>Plots</title>
{scripts}
<style>{STYLE}</style>
</head>
<body>
{{plot_divs}}
</body>
</html>
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
