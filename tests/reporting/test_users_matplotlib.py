import os
import subprocess
import sys

import matplotlib

from faces.reporting.plots import plot
from small_project import ROOT


def test_a_users_matplotlibrc_does_not_change_a_plot() -> None:
    def drawn() -> int:  # the length: names of clip paths in the SVG are random, but of one length
        return len(plot(lambda axes: axes.plot([1, 2], [3, 4]), "x"))

    expected = drawn()
    with matplotlib.rc_context({"font.size": 30.0}):
        assert drawn() == expected


def test_a_backend_that_is_not_installed_stops_no_plot() -> None:
    script = "from faces.reporting.plots import plot; plot(lambda axes: None, 'x')"
    environment = os.environ | {"MPLBACKEND": "nonsense", "PYTHONPATH": str(ROOT / "stages")}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
