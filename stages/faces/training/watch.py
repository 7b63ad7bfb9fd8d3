"""Ends processes that train together when one of them is lost, from a process of its own.

TensorFlow waits for others with Python's lock held: no thread of a process that waits can end it, nor can Ctrl-C.

Run     python watch.py <leader's id> <leader's pipe> <id>:<pipe> …, as faces/training/distribution.py does

Each process holds the other end of its pipe, which closes when it ends. One that has done its work has written a byte.
"""

import os
import select
import signal
import sys
import time

GRACE_SECONDS = 5.0  # that the leader gets to say itself what is wrong


def watch(leader: int, leader_pipe: int, others: dict[int, int]) -> None:
    """Wait until the leader has ended, then end the `others`, ids by pipe; end the leader if one of them is lost."""
    running, done, deadline = dict(others), set[int](), float("inf")
    while True:
        left = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([leader_pipe, *running], [], [], left)
        if leader_pipe in ready:
            break
        for pipe in ready:
            if os.read(pipe, 1):
                done.add(pipe)
                continue
            del running[pipe]
            if pipe not in done:
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        if time.monotonic() >= deadline:
            print("error: a process that trains with this one is gone; run again", file=sys.stderr, flush=True)
            os.kill(leader, signal.SIGKILL)
            break
    for identity in running.values():
        os.kill(identity, signal.SIGKILL)


if __name__ == "__main__":
    pairs = [text.split(":") for text in sys.argv[3:]]
    watch(int(sys.argv[1]), int(sys.argv[2]), {int(pipe): int(identity) for identity, pipe in pairs})
