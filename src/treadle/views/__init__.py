"""What happened, read from histories: timeline, cost, and one line for a table.

Here live pure functions from a list of recorded events to frozen values.  They must never write, run
anything or look outside the history they are given: whoever calls them brings the events, and whoever
shows their values does the drawing.
"""
