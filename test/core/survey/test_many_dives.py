"""Several dives: a folder each, one page over all, the same whoever did them; one that fails is not the end."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from wall import PASS, SeesDiscs, pictures

from spda_sam_core.cli import survey
from spda_sam_core.cli.many_dives import folders_of
from spda_sam_core.spda_sam import SpdaSam
from training.world.frame import render_sequence


def write_dive(folder: Path, lefts) -> Path:
    folder.mkdir(parents=True)
    for frame in pictures(lefts):
        cv2.imwrite(str(folder / frame.name), frame.rgb[..., ::-1])
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_page_over_all_has_the_findings_of_each_dive_and_links_to_its_own(tmp_path, model, capsys) -> None:
    dives = [write_dive(tmp_path / "port", PASS), write_dive(tmp_path / "star board", PASS[:12])]
    out = tmp_path / "out"
    assert survey.main([*map(str, dives), "-o", str(out)]) == 0
    single = [rows_of(out / name / "findings.csv") for name in ("port", "star board")]
    merged = rows_of(out / "findings.csv")
    assert [row.pop("dive") for row in merged] == ["port"] * len(single[0]) + ["star board"] * len(single[1])
    assert merged == single[0] + single[1]
    text = (out / "report.html").read_text()
    assert '<a href="star%20board/report.html">star board</a>' in text
    for dive, rows in enumerate(single, start=1):
        for row in rows:
            assert f'id="f{dive}-{row["finding"]}"' in text
    best = single[1][0]["best_frame"]
    assert f'href="star%20board/../../star%20board/{best}"' in text
    counted = sum(int(row["frames"]) > 1 for row in merged)
    assert f"{counted} findings in {len(PASS) + 12} frames" in capsys.readouterr().out


def test_a_dive_that_cannot_be_read_is_named_and_the_others_are_done(tmp_path, model, capsys) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    dives = [tmp_path / "broken.mp4", write_dive(tmp_path / "port", PASS[:8])]
    assert survey.main([*map(str, dives), "-o", str(tmp_path / "out")]) == 3
    assert "broken.mp4: could not be surveyed" in capsys.readouterr().out
    assert "broken.mp4: could not be surveyed" in (tmp_path / "out/report.html").read_text()
    assert (tmp_path / "out/port/report.html").exists()


def test_after_a_kill_no_dive_is_looked_at_twice(tmp_path, monkeypatch) -> None:
    dives = [str(write_dive(tmp_path / name, PASS[:10])) for name in "abc"]
    killed, second = SeesDiscs(fails_at=15), SeesDiscs()
    models = iter((killed, second, second))
    monkeypatch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: next(models))
    with pytest.raises(KeyboardInterrupt):
        survey.main([*dives, "-o", str(tmp_path / "x")])
    assert survey.main([*dives, "-o", str(tmp_path / "x"), "--resume"]) == 0
    assert second.asked == 30 - 15
    survey.main([*dives, "-o", str(tmp_path / "y")])
    assert (tmp_path / "x/report.html").read_bytes() == (tmp_path / "y/report.html").read_bytes()


def test_a_survey_that_is_there_is_not_written_over(tmp_path, model) -> None:
    dives = [str(write_dive(tmp_path / name, PASS[:3])) for name in "ab"]
    survey.main([*dives, "-o", str(tmp_path / "out")])
    with pytest.raises(FileExistsError, match="holds a survey of a, b: --resume goes on with it"):
        survey.main([*dives, "-o", str(tmp_path / "out")])


def test_dives_of_the_same_name_have_folders_of_their_own(tmp_path) -> None:
    for name in ("a/dive", "b/dive"):
        (tmp_path / name).mkdir(parents=True)
    sources = [tmp_path / "a/dive", tmp_path / "b/dive", tmp_path / "dive.mp4", tmp_path / "dive-2.mp4"]
    assert folders_of(sources) == ["dive", "dive-2", "dive-3", "dive-2-2"]


def rendered_dives(folder: Path, frames: int) -> list[str]:
    """Folders of pictures for the network itself, because workers know nothing of stand-ins."""
    dives = []
    for seed in (1, 2, 3):
        dive = folder / f"dive{seed}"
        dive.mkdir()
        for i, frame in enumerate(render_sequence(seed, frames, (160, 224))):
            cv2.imwrite(str(dive / f"{i:03d}.png"), np.ascontiguousarray(frame.rgb[..., ::-1]))
        dives.append(str(dive))
    return dives


def assert_same_files(here: Path, there: Path, least: int) -> None:
    files = sorted(p.relative_to(here) for p in here.rglob("*") if p.is_file())
    assert len(files) > least
    for path in files:
        assert (here / path).read_bytes() == (there / path).read_bytes(), path


@pytest.fixture
def one_thread():
    """Sums of the network differ in their last digits with the number of threads; dask's workers have one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_two_workers_make_the_same_files_as_one_process(tmp_path) -> None:
    given = [*rendered_dives(tmp_path, 4), "--backend", "torch", "--device", "cpu"]
    for workers in ("1", "2"):
        survey.main([*given, "-o", str(tmp_path / f"with{workers}"), "--workers", workers])
    assert_same_files(tmp_path / "with1", tmp_path / "with2", 3 * 8)
    assert rows_of(tmp_path / "with1/findings.csv")


@pytest.mark.slow
def test_the_dive_of_a_worker_that_is_killed_goes_on_in_another(tmp_path) -> None:
    psutil = pytest.importorskip("psutil")
    given = [*rendered_dives(tmp_path, 12), "--backend", "torch", "--device", "cpu"]
    command = [sys.executable, "-m", "spda_sam_core.cli.main", "survey", *given, "-o", str(tmp_path / "a")]
    with subprocess.Popen([*command, "--workers", "2"]) as run:
        until = time.monotonic() + 120
        begun: list[Path] = []
        while not begun and time.monotonic() < until:
            time.sleep(0.05)
            journals = (tmp_path / "a").glob("*/journal.jsonl")
            begun = [path for path in journals if path.read_bytes().count(b"\n") > 4]
        writer = begun[0].resolve()
        (worker,) = [
            child for child in psutil.Process(run.pid).children(recursive=True)
            if any(Path(file.path) == writer for file in child.open_files())
        ]  # fmt: skip
        worker.kill()
        assert run.wait(240) == 0
    survey.main([*given, "-o", str(tmp_path / "b")])
    assert_same_files(tmp_path / "b", tmp_path / "a", 3 * 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a", "--workers", "2"], "one dive is done in one process, give several dives"),
        (["a", "b", "--workers", "0"], "--workers 0: must be at least 1"),
        (["a", "b", "--depth", "d", "--camera", "1", "1", "1", "1"], "--depth: is for one folder of pictures"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message, capsys) -> None:
    with pytest.raises(SystemExit):
        survey.main([*options, "-o", str(tmp_path / "out")])
    assert message in capsys.readouterr().err
