"""The demo: everything that the project does, once, on a real cluster, with figures that are measured on the way.

    python -m tests.demo            # make demo
    python -m tests.demo down       # make demo-down

Rooms: sample (train and push), install (the operator), rollout (apply, wait, digests), served (every held-out image
through every site), scaling (a load, and the replicas that follow it), report (the table at the end).
"""
