"""Numbers of a network that learns within seconds, for tests that train."""

from __future__ import annotations

from typing import Any

SIZE = 96
SMALL: dict[str, Any] = {
    "input_size": SIZE,
    "depth_widths": [8, 8, 8, 8],
    "width": 32,
    "mlp_width": 32,
    "attention_heads": 4,
    "num_proposals": 6,
    "num_instances": 4,
}
"""What differs from preset "tiny"."""
