"""Makes the modules beside the tests importable: pages, how their code is run, what is typed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
