"""Downloads of pretrained bases from a real server on this machine: whole and right, or not there."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import pytest

from spda_sam_core import config
from spda_sam_core.weights import download as weights
from spda_sam_core.weights.download import Published, find_weights, main
from spda_sam_core.weights.files import CheckpointError

NAME, FILE = "sam_vit_b", "sam_vit_b_01ec64.pth"
CONTENT = random.Random(0).randbytes(300_000)


class Server(ThreadingHTTPServer):
    """Offers `content` under every name.

    Attributes:
        knows_range: answer Range as HTTP says, or send everything.
        drop_after: close the connection after so many bytes of the next answer.
        silent: take the request and say nothing until `close`.
        status: answer this instead.
        answers: per request, its Range (None without) and how many bytes were sent.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.knows_range = True
        self.drop_after: int | None = None
        self.silent = False
        self.status: int | None = None
        self.answers: list[tuple[str | None, int]] = []
        self.closed = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        if server.silent:
            server.closed.wait(20)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.knows_range else 0
        body, status = server.content[start:], server.status or (206 if start else 200)
        if start >= len(server.content):
            body, status = b"", 416
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent, server.drop_after = body[: server.drop_after], None
        server.answers.append((asked, len(sent)))
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The table's files, small and on this machine."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for name, published in weights.PUBLISHED.items():
            small = Published(f"{server.url}/{published.file_name}", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
            monkeypatch.setitem(weights.PUBLISHED, name, small)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.closed.set()
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Does not exist yet."""
    monkeypatch.setenv("SPDA_SAM_WEIGHTS", str(tmp_path / "new/weights"))
    return tmp_path / "new/weights"


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(capfd: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must fail, and return its one line of error."""
    with pytest.raises(SystemExit) as stopped:
        main([NAME])
    assert stopped.value.code == 1
    out, err = capfd.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert err.endswith("\n")
    return err.splitlines()[-1]


def test_every_pretrained_encoder_has_a_published_file() -> None:
    assert set(weights.PUBLISHED) == {name for name in get_args(config.Encoder) if "sam" in name}


def test_files_appear_under_their_own_names_with_a_bar(
    server: Server, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main([NAME, "mobile_sam"])
    assert contents(folder) == {FILE: CONTENT, "mobile_sam.pt": CONTENT}
    assert server.answers == [(None, len(CONTENT))] * 2
    assert find_weights(NAME) == folder / FILE
    out, err = capfd.readouterr()
    assert str(folder / "mobile_sam.pt") in out
    assert "sam_vit_b: 100%" in err


def test_a_partial_file_is_completed_and_not_fetched_again(
    server: Server, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(folder / f"{FILE}.part", CONTENT[:100_000])
    main([NAME])
    assert "sam_vit_b: 100%" in capfd.readouterr().err
    assert server.answers == [("bytes=100000-", 200_000)]
    assert contents(folder) == {FILE: CONTENT}


def test_a_server_that_ignores_range_gets_a_fresh_start(server: Server, folder: Path) -> None:
    server.knows_range = False
    write(folder / f"{FILE}.part", CONTENT[:100_000])
    main([NAME])
    assert server.answers == [("bytes=100000-", len(CONTENT))]
    assert contents(folder) == {FILE: CONTENT}


def test_a_dropped_connection_keeps_what_came_and_the_same_command_goes_on(
    server: Server, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.drop_after = 123_456
    error = refused(capfd)
    assert f"{server.url}/{FILE}: the connection broke" in error
    assert f"run python -m spda_sam_core.weights.download {NAME} again" in error
    assert contents(folder) == {f"{FILE}.part": CONTENT[:123_456]}
    main([NAME])
    assert server.answers[1:] == [("bytes=123456-", len(CONTENT) - 123_456)]
    assert contents(folder) == {FILE: CONTENT}


def test_a_partial_file_that_is_complete_only_gets_its_name(server: Server, folder: Path) -> None:
    write(folder / f"{FILE}.part", CONTENT)
    main([NAME])
    assert server.answers == [(f"bytes={len(CONTENT)}-", 0)]
    assert contents(folder) == {FILE: CONTENT}


@pytest.mark.parametrize("begun", [b"", b"x" * 100_000, b"x" * 400_000])
def test_a_wrong_file_never_gets_the_final_name(
    server: Server, folder: Path, capfd: pytest.CaptureFixture[str], begun: bytes
) -> None:
    """Something else on the server, a damaged part of ours, and one that is longer than the file."""
    write(folder / f"{FILE}.part", begun)
    if not begun:
        server.content = b"<html>please log in</html>"
    found = hashlib.sha256(begun + server.content[len(begun) :]).hexdigest()
    error = refused(capfd)
    assert f"expected SHA-256 {hashlib.sha256(CONTENT).hexdigest()[:12]} but found {found[:12]}" in error
    assert "it was removed" in error
    assert contents(folder) == {}
    server.content = CONTENT
    main([NAME])  # and the next try is not spoilt
    assert contents(folder) == {FILE: CONTENT}


@pytest.mark.parametrize("why", ["no server", "silent server", "not found"])
def test_without_an_answer_the_error_tells_how_to_do_it_by_hand(
    server: Server, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    part = write(folder / f"{FILE}.part", CONTENT[:1000])
    url = weights.PUBLISHED[NAME].url
    if why == "no server":
        with socket.create_server(("127.0.0.1", 0)) as unused:
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/{FILE}"
        monkeypatch.setitem(weights.PUBLISHED, NAME, weights.PUBLISHED[NAME]._replace(url=url))
    elif why == "silent server":
        server.silent = True
        monkeypatch.setattr(weights, "_TIMEOUT_S", 0.2)
    else:
        server.status = 404
    error = refused(capfd)
    assert error.startswith(f"{url}: cannot be downloaded")
    assert f"put it at {folder / FILE}, and run that command, which then checks it" in error
    assert part.read_bytes() == CONTENT[:1000]


def test_a_file_put_there_by_hand_is_checked_without_a_connection(
    server: Server, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(folder / FILE, b"another file")
    error = refused(capfd)
    assert error.startswith(f"{path}: is not the published {NAME}, expected SHA-256")
    assert f"found {hashlib.sha256(b'another file').hexdigest()[:12]}: delete it" in error
    assert contents(folder) == {FILE: b"another file"}
    path.write_bytes(CONTENT)
    main([NAME])
    assert f"{path}: SHA-256 is right" in capfd.readouterr().out
    assert server.answers == []


def test_a_full_disk_is_called_so(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder.mkdir(parents=True)
    (folder / f"{FILE}.part").symlink_to("/dev/full")  # every write fails as on a full disk
    error = refused(capfd)
    assert error.startswith(f"{folder / FILE}: cannot be read or written (No space left on device): it needs 0 MB")
    assert "set SPDA_SAM_WEIGHTS to another folder" in error
    assert not (folder / FILE).exists()


def test_a_folder_that_cannot_be_made_is_called_so(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPDA_SAM_WEIGHTS", str(write(tmp_path / "file", b"") / "folder"))
    assert "cannot be read or written (Not a directory)" in refused(capfd)


def test_the_folder_is_the_variable_then_the_xdg_cache_then_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "own", tmp_path / "xdg/spda_sam", tmp_path / "home/.cache/spda_sam"]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("SPDA_SAM_WEIGHTS", str(tmp_path / "own"))
    for folder in folders:
        write(folder / FILE, b"")
    found = [find_weights(NAME).parent]
    for variable in ("SPDA_SAM_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "")  # set to nothing counts as not set
        found.append(find_weights(NAME).parent)
        monkeypatch.delenv(variable)
        assert find_weights(NAME).parent == found[-1]
    assert found == folders


def test_a_missing_file_is_named_with_its_address_and_the_command(folder: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        find_weights("mobile_sam")
    message = str(error.value)
    assert message.startswith(f"{folder / 'mobile_sam.pt'}: no such file")
    assert weights.PUBLISHED["mobile_sam"].url in message
    assert "python -m spda_sam_core.weights.download mobile_sam" in message


def test_an_unknown_base_gets_the_list_and_the_nearest_name(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"one of sam_vit_b, .*, mobile_sam; did you mean 'mobile_sam'"):
        find_weights("mobilesam")
    with pytest.raises(SystemExit):
        main(["sam_vit_g"])
    assert "invalid choice: 'sam_vit_g'" in capfd.readouterr().err


def test_help_has_all_that_one_needs_before_a_download(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capfd.readouterr().out
    for told in (
        "sam_vit_b   375 MB  https://",
        "2565 MB",
        "mobile_sam",
        "Apache-2.0",
        "~/.cache/spda_sam",
        "SPDA_SAM_WEIGHTS",
    ):
        assert told in text
