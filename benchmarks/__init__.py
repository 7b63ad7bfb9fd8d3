"""How fast the pipeline is, as ratios to other ways of doing the same work. Nothing here is used by the pipeline."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "stages"))
