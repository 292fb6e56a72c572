"""What the network found, frame by frame, on disk: a run that was killed goes on without asking the network again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.messages.fields import Header
from spda_sam_core.results.instances import Instances, decode_rle


class Frame(NamedTuple):
    """One picture of a dive.

    Attributes:
        name: of the picture, or "000042.jpg" for frame 42 of a video.
        stamp_ns: its time, nanoseconds from the dive's first frame.
        rgb: (H, W, 3) uint8; None where it cannot be read.
        depth_m: (H, W) float32 metres, NaN unknown; None where there is none.
        problem: why it cannot be read.
        header: of the message that it was in a bag.
        logged_ns: when that message was recorded, nanoseconds since 1970.
    """

    name: str
    stamp_ns: int
    rgb: NDArray[np.uint8] | None
    depth_m: NDArray[np.float32] | None = None
    problem: str = ""
    header: Header | None = None
    logged_ns: int = 0


class Journal:
    """One line of JSON for each frame: its name and COCO results; the first line says what made them.

    Args:
        path: the file.
        made_by: what must be the same when a run goes on, such as the checkpoint's hash; JSON values.
        class_names: of the model.
        resume: go on with what is there.

    Raises:
        FileExistsError: there is a journal, and `resume` was not asked for.
        ValueError: the journal was made otherwise.
    """

    def __init__(self, path: Path, made_by: dict[str, Any], class_names: tuple[str, ...], *, resume: bool) -> None:
        if path.exists() and not resume:
            raise FileExistsError(f"{path.parent} holds a survey: --resume goes on with it, or choose another --out")
        self.path, self.class_names = path, class_names
        path.parent.mkdir(parents=True, exist_ok=True)
        self._whole_lines()
        head = json.dumps(made_by, sort_keys=True)
        self._recalled = self._lines()
        first = next(self._recalled, None)
        if first is not None and first != json.loads(head):
            differing = sorted(k for k in {*first, *made_by} if first.get(k) != json.loads(head).get(k))
            raise ValueError(
                f"{path}: made with other {', '.join(differing)} ({', '.join(str(first.get(k)) for k in differing)}): "
                "give the same, or choose another --out"
            )
        self._file = path.open("a", encoding="utf-8")
        if first is None:
            self._write(made_by)

    def recall(self, frame: Frame) -> Instances | None:
        """What was found in this frame; None once the journal is at its end. Frames come in the same order.

        Raises:
            ValueError: another frame than at this place of the run before.
        """
        line = next(self._recalled, None)
        if line is None:
            return None
        if line["name"] != frame.name:
            raise ValueError(f"{self.path}: after a resume came {frame.name}, before it {line['name']}: other input")
        return instances_of(line, self.class_names)

    def add(self, frame: Frame, found: Instances) -> None:
        """Write down what was found; on disk when this returns."""
        size = [found.height, found.width]
        self._write({"name": frame.name, "stamp_ns": frame.stamp_ns, "size": size, "results": found.to_coco(0)})

    def frames(self) -> Iterator[dict[str, Any]]:
        """The lines of all frames, as they were written."""
        lines = self._lines()
        next(lines, None)
        return lines

    def close(self) -> None:
        """Close the file."""
        self._recalled.close()
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, sort_keys=True) + "\n")
        self._file.flush()

    def _lines(self) -> Any:
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def _whole_lines(self) -> None:
        """Cut off a line that was being written when the run was killed."""
        self.path.touch()
        with self.path.open("rb+") as file:
            whole = 0
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)
                    break
                whole += len(line)


def instances_of(line: dict[str, Any], class_names: tuple[str, ...]) -> Instances:
    """The instances of a journal's line."""
    results = line["results"]
    if not results:
        return Instances.empty(line["size"][0], line["size"][1], class_names)
    boxes = np.array([r["bbox"] for r in results], np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return Instances(
        np.stack([decode_rle(r["segmentation"]) for r in results]),
        boxes.astype(np.float32),
        np.array([r["score"] for r in results], np.float32),
        np.array([r["category_id"] - 1 for r in results], np.int64),
        class_names,
    )
