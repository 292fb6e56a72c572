"""The learning rate of a step: linear warm-up, constant, linear fall to 0 (Hägele et al., NeurIPS 2024).

A constant rate leaves open how long a run will be: it is stopped, and its last steps are the fall.
"""

from __future__ import annotations


def learning_rate(step: int, *, peak: float, warmup_steps: int, decay_steps: int, steps: int) -> float:
    """Learning rate of a step.

    Args:
        step: from 0.
        peak: highest rate, reached with the last step of the warm-up.
        warmup_steps: length of the rise.
        decay_steps: length of the fall.
        steps: length of the run, at whose end the rate is 0.
    """
    rise = (step + 1) / warmup_steps if step < warmup_steps else 1.0
    fall = (steps - step) / (decay_steps + 1) if steps - step <= decay_steps else 1.0
    return peak * min(rise, fall)


def check_schedule(peak: float, warmup_steps: int, decay_steps: int, steps: int) -> None:
    """Refuse what is no schedule.

    Raises:
        ValueError: a rate that is not above 0, or a warm-up and a fall that do not fit into the run.
    """
    if min(warmup_steps, decay_steps) < 0 or warmup_steps + decay_steps > steps:
        raise ValueError(f"warmup_steps {warmup_steps} and decay_steps {decay_steps} must fit into steps {steps}")
    if peak <= 0:
        raise ValueError(f"learning_rate {peak} must be above 0")
