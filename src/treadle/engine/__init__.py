"""Makes it happen: starts tasks, calls bodies, appends what was learned, obeys the scheduler.

Never here: a rule about graphs (that is the scheduler's), SQL, a provider's wire format.  The rule a
newcomer would break: tasks are started nowhere else, and each belongs to a run's task group.
"""
