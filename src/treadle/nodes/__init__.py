"""The five kinds of node, and graphs: decorators, signatures, bodies.

Here stands what a node is and how its body is called.  What never belongs here: when it is called,
what is recorded, who pays; a body knows ``Context`` and nothing of the engine.
"""
