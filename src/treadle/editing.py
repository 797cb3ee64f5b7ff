"""Looking at an edit of a graph before a run goes on with it: what is kept, what runs, what is refused.

See ``docs/how-to/edit-a-running-graph.md``.
"""

from __future__ import annotations

from treadle.engine.outlook import Look, Outlook, check_against

__all__ = ["check_against", "Outlook", "Look"]
