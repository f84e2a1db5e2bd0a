"""The Job that an EdgeModel starts.

* ``run``                  the Job from its task to its result
* ``pipeline``             fetch, check, search: what the Job and the command line share
* ``supervisor``           the work in a child process: what crashes or kills it becomes a sentence, too
* ``termination_message``  where a Job's result goes
"""
