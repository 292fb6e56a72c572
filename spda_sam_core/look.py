"""One picture to look at, wherever it comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.messages.fields import Header


class Look(NamedTuple):
    """One picture.

    Attributes:
        name: path relative to the folder that was given, with its suffix; of a frame "000042.jpg".
        rgb: (H, W, 3) uint8; None where it cannot be read.
        depth_m: (H, W) float32 metres, NaN unknown; None where there is none.
        problem: why it cannot be read; empty where it can.
        stamp_ns: its time, nanoseconds from the first picture; None where only the order is known.
        header: of the message that it was, with the time of the sensor; None where it was none.
        logged_ns: when that message was recorded, nanoseconds since 1970.
    """

    name: str
    rgb: NDArray[np.uint8] | None
    depth_m: NDArray[np.float32] | None = None
    problem: str = ""
    stamp_ns: int | None = None
    header: Header | None = None
    logged_ns: int = 0
