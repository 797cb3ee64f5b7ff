"""``python -m treadle``: the ``treadle`` command, for where its script is not on the path."""

from __future__ import annotations

from treadle.cli.main import main

if __name__ == "__main__":
    main()
