"""The views for RViz and Foxglove show topics that the node publishes, labels by their numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
VIEWS = ROOT / "config/view"


def published() -> set[str]:
    """What the README promises; `test_public_surface.py` holds the node to it."""
    return set(re.findall(r"`(/spda_sam/\w+|/diagnostics)`", (ROOT / "README.md").read_text(encoding="utf-8")))


def test_rviz_shows_the_overlay_first_and_labels_with_a_range_of_their_own() -> None:
    view = yaml.safe_load((VIEWS / "spda_sam.rviz").read_text(encoding="utf-8"))
    displays = view["Visualization Manager"]["Displays"]
    topics = [display["Topic"]["Value"] for display in displays]
    assert topics[0] == "/spda_sam/overlay"
    assert set(topics) <= published()
    (labels,) = (display for display in displays if display["Topic"]["Value"] == "/spda_sam/instances")
    assert labels["Normalize Range"] is False  # or each picture is stretched anew, one without instances to garbage
    assert (labels["Min Value"], labels["Max Value"]) == (0, 32)


def test_foxglove_shows_labels_in_colour_and_lays_out_each_panel_that_it_configures() -> None:
    layout = json.loads((VIEWS / "foxglove.json").read_text(encoding="utf-8"))
    panels = layout["configById"]
    modes = {name: panel["imageMode"] for name, panel in panels.items() if "imageMode" in panel}
    annotated = modes.pop("Image!annotations")
    assert annotated["annotations"] == {"/spda_sam/annotations": {"visible": True}}
    assert "/spda_sam/annotations" in published()
    # the camera of the README's own example: a layout cannot know another
    assert f"image:={annotated['imageTopic']} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert {mode["imageTopic"] for mode in modes.values()} <= published()
    labels = modes["Image!instances"]
    assert (labels["colorMode"], labels["minValue"], labels["maxValue"]) == ("colormap", 0, 32)
    placed: set[str] = set()
    rest = [layout["layout"]]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            placed.add(node)
        else:
            rest += [node["first"], node["second"]]
    assert placed == set(panels)
