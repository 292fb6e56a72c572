"""Where the official files of the pretrained bases live, and the command that downloads them.

`python -m spda_sam_core.weights.download --help` tells how. No file takes its final name before its SHA-256 is right.
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

from tqdm import tqdm

from spda_sam_core.weights.files import CheckpointError, cache_folder, file_sha256

FOLDER_VARIABLE = "SPDA_SAM_WEIGHTS"
"""Environment variable: the folder of the official files, instead of the user's cache."""

_TIMEOUT_S = 30.0
"""A server that is silent for so long counts as gone."""

_BLOCK_BYTES = 1 << 16


class Published(NamedTuple):
    """An official file.

    Attributes:
        url: where its authors offer it.
        sha256: hash of the file, hexadecimal.
        size_bytes: its size; only told to the user, the hash decides.
    """

    url: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """The name that its authors gave it."""
        return self.url.rpartition("/")[2]


# The digits in the names of SAM's files are the beginning of their MD5, so they do not help here.
PUBLISHED = {
    "sam_vit_b": Published(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    "sam_vit_l": Published(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    "sam_vit_h": Published(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    "mobile_sam": Published(
        "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        40_728_226,
    ),
}
"""The official files by the base's name in `ModelConfig.encoder`."""


def find_weights(name: str) -> Path:
    """The official file of a pretrained base. Its hash is not checked here: the command and checkpoints do that.

    Args:
        name: a key of `PUBLISHED`.

    Returns:
        A file that exists: in the folder of `SPDA_SAM_WEIGHTS` if that is set, else in the user's cache.

    Raises:
        ValueError: no such base; the message has the nearest name.
        CheckpointError: the file is not there; the message has the path, the address and the command.
    """
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, PUBLISHED, n=1, cutoff=0.0)
        raise ValueError(f"base '{name}': choose one of {', '.join(PUBLISHED)}; did you mean '{near[0]}'?")
    path = _place(name)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file, the weights of {name}: run {_command(name)}, or get {PUBLISHED[name].url} "
            f"and put it there ({FOLDER_VARIABLE} names another folder)"
        )
    return path


def download(name: str) -> Path:
    """Get an official file and check its hash. One that is there already is only checked.

    An unfinished download stays beside it as `<file>.part`, and the next call goes on from there.

    Args:
        name: a key of `PUBLISHED`.

    Returns:
        Where `find_weights` finds it.

    Raises:
        CheckpointError: no connection, a connection that broke, no place to write, or another hash than published.
    """
    path, published = _place(name), PUBLISHED[name]
    part = path.with_name(path.name + ".part")
    try:
        if path.is_file():
            # it may have been put there by hand, so it is not ours to delete
            _check(path, name, f"delete it and run {_command(name)}")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(name, part)
        try:
            _check(
                part,
                name,
                f"it was removed, run {_command(name)} again; if that ends like this too, a proxy or the server sends "
                f"something else: get {published.url} another way and put it at {path}",
            )
        except CheckpointError:
            part.unlink()
            raise
        with part.open("rb") as file:
            os.fsync(file.fileno())  # or a power failure could leave the final name on an empty file
        part.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read or written ({error.strerror}): it needs {_size(name)} of free space and your "
            f"permission there; make room, or set {FOLDER_VARIABLE} to another folder, then run {_command(name)} again"
        ) from error
    return path


def _place(name: str) -> Path:
    folder = os.environ.get(FOLDER_VARIABLE)
    return (Path(folder) if folder else cache_folder()) / PUBLISHED[name].file_name


def _command(name: str) -> str:
    return f"python -m spda_sam_core.weights.download {name}"


def _size(name: str) -> str:
    return f"{PUBLISHED[name].size_bytes / 1e6:.0f} MB"


def _check(path: Path, name: str, fix: str) -> None:
    found, expected = file_sha256(path), PUBLISHED[name].sha256
    if found != expected:
        raise CheckpointError(
            f"{path}: is not the published {name}, expected SHA-256 {expected[:12]} but found {found[:12]}: {fix}"
        )


def _fetch(name: str, part: Path) -> None:
    """Download into `part`, behind what is in it already."""
    url = PUBLISHED[name].url
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "spda_sam"}  # some hosts refuse urllib's own
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer: HTTPResponse = urlopen(Request(url, headers=headers), timeout=_TIMEOUT_S)
    except (OSError, HTTPException) as error:
        if start and getattr(error, "code", None) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing lies behind what is there: its hash tells whether it is the whole file
        raise CheckpointError(
            f"{url}: cannot be downloaded ({error}): check the connection and run {_command(name)} again, or get it "
            f"on another computer, put it at {_place(name)}, and run that command, which then checks it"
        ) from error
    resumes = answer.status == HTTPStatus.PARTIAL_CONTENT
    if not resumes:  # this server always sends the whole file
        start = 0
    total = None if answer.length is None else start + answer.length
    with (
        answer,
        part.open("ab" if resumes else "wb") as file,
        tqdm(total=total, initial=start, desc=name, unit="B", unit_scale=True) as bar,
    ):
        for block in _received(answer, name):
            file.write(block)
            bar.update(len(block))


def _received(answer: HTTPResponse, name: str) -> Iterator[bytes]:
    """What the server sends. A generator, so that no error of writing is taken for one of the connection."""
    try:
        while block := answer.read(_BLOCK_BYTES):
            yield block
        if answer.length:  # http.client keeps silent about a connection that was closed too early
            raise IncompleteRead(b"", answer.length)
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f"{PUBLISHED[name].url}: the connection broke ({error}): run {_command(name)} again, it goes on where "
            "it stopped"
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Download the official weights of pretrained bases and check them. Files that are there are only checked."""
    bases = "\n".join(f"  {name:<10} {_size(name):>7}  {published.url}" for name, published in PUBLISHED.items())
    parser = argparse.ArgumentParser(
        prog="python -m spda_sam_core.weights.download",
        description=main.__doc__,
        epilog=f"""\
bases:
{bases}

SAM and MobileSAM are licensed by their authors under Apache-2.0.

They are kept in ~/.cache/spda_sam (with XDG_CACHE_HOME: $XDG_CACHE_HOME/spda_sam), or in the folder that
{FOLDER_VARIABLE} names. Stop the command at any time: run again, it goes on where it was. Without a connection, put
a file there by hand under its own name: the command checks it.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=PUBLISHED, metavar="NAME", help="a base of the list below")
    for name in parser.parse_args(arguments).names:
        try:
            path = download(name)
        except CheckpointError as error:
            parser.exit(1, f"{error}\n")
        print(f"{name}: {path}: SHA-256 is right")


if __name__ == "__main__":
    main()
