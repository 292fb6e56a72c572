"""Does the node give results while images come in, and if not, for how long?"""

from __future__ import annotations

from dataclasses import dataclass

WARN_AFTER_S = 3.0
ERROR_AFTER_S = 10.0
_PATIENCE = 3.0


@dataclass(frozen=True)
class Lag:
    """What the watchdog sees.

    Attributes:
        busy_s: for how long the frame at hand has been at hand, 0 where there is none.
        usual_s: how long a frame usually takes.
        unanswered_s: for how long images have come in without a result.
        interval_s: time between two results that `max_rate_hz` asks for, 0 for no limit.
    """

    busy_s: float
    usual_s: float
    unanswered_s: float
    interval_s: float

    @property
    def seconds(self) -> float:
        """For how long a result has been missing."""
        return max(self.busy_s, self.unanswered_s)

    def beyond(self, limit_s: float) -> bool:
        """Whether a result has been missing for longer than a limit; a slow network and a low rate extend it."""
        return self.seconds > limit_s + self.interval_s + _PATIENCE * self.usual_s

    def __str__(self) -> str:
        text = f"no result for {self.seconds:.0f} s"
        if self.busy_s > self.usual_s + WARN_AFTER_S:
            return (
                f"{text}: the frame at hand is not done after {self.busy_s:.0f} s, usually it takes {self.usual_s:.1f} "
                "s: is the device stuck? To begin anew: deactivate, clean up, configure, activate"
            )
        return f"{text} while images come in: each is dropped, see the counts dropped.* and last_error"
