"""The node of `benchmarks.soak`: the real one, with a model that fails now and then."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from spda_sam_core.spda_sam import Prediction, SpdaSam
from spda_sam_ros import node

FAILS_EVERY = 97
"""Frames. A prime, so that it meets every other fault."""


class FailingSpdaSam(SpdaSam):
    """Fails as a GPU does that is out of memory."""

    _calls = 0

    def predict_batch(self, images: Sequence[Any], *rest: Any, **options: Any) -> list[Prediction]:
        """As of `SpdaSam`; raises RuntimeError every so often."""
        self._calls += 1
        if self._calls % FAILS_EVERY == 0:
            raise RuntimeError("out of memory (made by benchmarks.soak)")
        return super().predict_batch(images, *rest, **options)


if __name__ == "__main__":
    node.SpdaSam = FailingSpdaSam
    sys.exit(node.main())
