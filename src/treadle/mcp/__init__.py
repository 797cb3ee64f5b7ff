"""The Model Context Protocol, both ways: a server's tools as ours, a graph as a tool of theirs.

Everything that names the official SDK (``mcp``, an extra) stands here, and loads on first use.  What
comes from a server is data of a stranger: schemas are checked, results are checked against them,
hints are taken for defaults and never for permissions.  The rule a newcomer would break: this room
knows no node, no graph and no engine; it fills the sockets of ``interfaces/tools.py``.
"""
