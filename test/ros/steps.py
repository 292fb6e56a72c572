"""Work in steps, done here and now."""

import time


def done(steps):
    """Go through all steps, and ask again soon where they wait; what they return."""
    while True:
        try:
            wait_s = next(steps)
        except StopIteration as end:
            return end.value
        time.sleep(min(wait_s, 0.005))
