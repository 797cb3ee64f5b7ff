"""What is declared: stand-ins, wiring, control words, and the plan they come to.

Here stands the immutable record of a graph, never its progress.  Nothing here runs a body, reads a
clock or knows a value of a run; and nothing may make a plan differ from one process to the next.
"""
