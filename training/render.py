"""Render a split of the underwater world to disk.

python -m training.render --data config/data/rendered.yaml --split train
python -m training.render --data config/data/rendered.yaml --split val --digest    # are these the pictures of the docs?
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.data.rendered_folder import digest_of_split, load_rendered_config, write_split


def main(arguments: list[str] | None = None) -> None:
    """Write a split of a rendered data set as a COCO folder; run again to continue after an interruption."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="YAML such as config/data/rendered.yaml")
    parser.add_argument("--split", required=True, help="name of a split in that file, such as train or val")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures of the split")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--digest", action="store_true", help="print the SHA-256 of pictures, depth and labels too")
    options = parser.parse_args(arguments)
    config = load_rendered_config(options.data)
    folder = write_split(config, options.split, limit=options.limit, workers=options.workers)
    print(folder / "annotations.json")
    if options.digest:
        print(digest_of_split(folder))


if __name__ == "__main__":
    main()
