"""The command line: a file for each verb.

Verbs read the command line and show what came of it; what they do is the engine's, the store's and the
views' business.  A verb's file is loaded when the verb is used, so that ``treadle --help`` answers at once.
Never here: a rule about graphs, or SQL.
"""
