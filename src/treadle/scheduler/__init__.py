"""What happens next: a pure machine that turns events into commands.

Here lives every decision about a plan's progress.  Never here: I/O, a clock, tasks, randomness, or a
user's values: the scheduler sees ids and facts alone, so that replay, crash tests and other engines
need neither an event loop nor anybody's types.  The rule a newcomer would break: a choice that needs
a value (which case, did the read succeed) is asked for with ``Decide`` and comes back as an event.
"""
