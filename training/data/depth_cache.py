"""Estimated depth, kept as 16-bit PNG next to the data: `<root>/depth_cache/<estimator>/<folder>/<picture>.png`.

`<estimator>` is the beginning of the SHA-256 of the estimator's weights, so that another estimator never finds them;
`estimator.json` in that folder has all of it. Pixels are inverse depth, 1 (far) to 65535 (near), of a scale of each
picture's own.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.weights.files import file_sha256, write_whole
from training.data.pictures import DepthImages, inside, read_relative_inverse_depth

_NEAR, _FAR = 65535, 1
_STORED = DepthImages("relative", near="bright")
_FLAT = 1e-5
"""A relative span below this is rounding, and is not stretched to the whole range."""


def estimator_sha256(estimator: str | Path) -> str:
    """SHA-256 of the weights of what `DepthEstimator.from_pretrained` takes, a file or a folder.

    Raises:
        FileNotFoundError: no such file.
    """
    path = Path(estimator)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such depth estimator: correct depth_estimator in the data set's YAML")
    return file_sha256(file)


def cache_folder(root: Path, estimator: str | Path) -> Path | None:
    """The folder with this estimator's depth for the data set in `root`; None where nothing was ever estimated."""
    folder = root / "depth_cache"
    return folder / estimator_sha256(estimator)[:12] if folder.is_dir() else None


def cached_file(cache: Path, folder: Path, file_name: str) -> Path:
    """Where the estimate for a picture belongs, whether or not it is there.

    Args:
        cache: from `cache_folder` or `begin_cache`.
        folder: of the pictures, relative to the root of the data set.
        file_name: of the picture, relative to `folder`.
    """
    return inside(cache / folder, file_name + ".png")


def begin_cache(root: Path, estimator: str | Path) -> Path:
    """Make the folder for this estimator's depth, with a file that says whose it is.

    Raises:
        ValueError: it belongs to an estimator whose hash only begins alike.
    """
    sha256 = estimator_sha256(estimator)
    folder = root / "depth_cache" / sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "estimator.json"
    if record.exists():
        found = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        if found != sha256:
            raise ValueError(f"{record}: is of estimator {found}, not {sha256}: move that folder away")
        return folder
    write_whole(record, (json.dumps({"estimator": str(estimator), "sha256": sha256}) + "\n").encode())
    return folder


def write_cached(path: Path, relative_inverse_depth: NDArray[np.float32]) -> None:
    """Keep an estimate; the file appears whole or not at all.

    Args:
        path: the PNG; its folder is made.
        relative_inverse_depth: (H, W) float32, finite, larger is nearer.
    """
    low, high = float(relative_inverse_depth.min()), float(relative_inverse_depth.max())
    span = max(high - low, _FLAT * max(abs(low), abs(high)), 1e-12)
    stored = np.round(_FAR + (_NEAR - _FAR) * (relative_inverse_depth.astype(np.float64) - low) / span)
    done, encoded = cv2.imencode(".png", stored.astype(np.uint16))
    assert done
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encoded.tobytes())


def read_cached(path: Path, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) float32 in 1..65535, larger is nearer; raises what `read_relative_inverse_depth` raises."""
    return read_relative_inverse_depth(path, size_hw, _STORED)
