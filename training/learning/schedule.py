"""The learning rate of a step: linear warm-up, then half a cosine down to 0."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of a step.

    Args:
        step: from 0.
        peak: highest rate, reached with the last step of the warm-up.
        warmup_steps: length of the rise.
        steps: length of the run, at whose end the rate is 0.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def check_schedule(peak: float, warmup_steps: int, steps: int) -> None:
    """Refuse what is no schedule.

    Raises:
        ValueError: a rate that is not above 0, or a warm-up that does not end before the run.
    """
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"warmup_steps {warmup_steps} must be in 0..{steps - 1}, below steps")
    if peak <= 0:
        raise ValueError(f"learning_rate {peak} must be above 0")
