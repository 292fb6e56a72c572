"""`spda-sam survey`: each thing once, what was not seen, and a run that was killed ends as one that was not."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from wall import CLASSES, PASS, SIZE_HW, STEP_PX, THINGS, BlindInTheDark, SeesDiscs, look_at, pictures

from spda_sam_core.cli import survey
from spda_sam_core.results.instances import Instances, decode_rle, encode_rle
from spda_sam_core.results.metric import Pinhole
from spda_sam_core.survey.facts import facts_of
from spda_sam_core.survey.journal import Journal
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.report import Origin, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_a_thing_in_many_frames_is_one_finding_at_its_place_on_the_strip(tmp_path) -> None:
    dive = look_at(tmp_path, pictures(PASS))
    assert [f.class_name for f in dive.findings] == ["marine_growth", "anode", "marine_growth"]
    assert len(dive.strip.pieces) == 1
    first = dive.findings[0].best.place
    for finding, (x, y, radius, _) in zip(dive.findings, THINGS, strict=True):
        away = np.array(finding.best.place) - first
        expected = np.array([x - THINGS[0][0], y - THINGS[0][1]]) / SIZE_HW[1]
        np.testing.assert_allclose(away, expected, atol=0.03)
        assert finding.largest_px == pytest.approx(np.pi * radius**2, rel=0.05)
        assert finding.best.whole


def test_a_thing_that_leaves_and_returns_is_the_same_finding(tmp_path) -> None:
    # away for five seconds, longer than its track is kept
    dive = look_at(tmp_path, pictures([*range(60, 160, STEP_PX), *range(160, 20, -STEP_PX)]))
    growth = [f for f in dive.findings if f.class_name == "marine_growth"]
    assert len(growth) == 1
    assert len(growth[0].tracks) == 2
    assert not growth[0].possibly_same


@pytest.mark.parametrize(("shrinks_px", "findings"), [(0, 1), (6, 2)])
def test_what_returns_under_another_name_is_the_same_finding_if_it_is_as_large(tmp_path, shrinks_px, findings) -> None:
    class ChangesItsMind(SeesDiscs):
        def predict(self, rgb, depth_m=None, *, score_threshold=0.3):
            found = super().predict(rgb)
            if self.asked <= 11:
                return found
            core = np.ones((2 * shrinks_px + 1,) * 2, np.uint8)
            masks = np.stack([cv2.erode(mask.astype(np.uint8), core) > 0 for mask in found.masks])
            return Instances.of_labels(masks, np.ones_like(found.class_ids), CLASSES)

    there_and_back = pictures([*range(40, 150, STEP_PX), *range(150, 20, -STEP_PX)])
    dive = look_at(tmp_path, there_and_back, ChangesItsMind())
    at_the_first_disc = [f for f in dive.findings if abs(f.best.place[0] - dive.findings[0].best.place[0]) < 0.1]
    assert len(at_the_first_disc) == findings


def test_beyond_a_loss_of_sight_it_is_only_possibly_the_same(tmp_path) -> None:
    frames = pictures([*range(0, 30, 5), *[0] * 12, *range(25, 0, -5)])
    black = [f._replace(rgb=np.zeros((*SIZE_HW, 3), np.uint8)) if 6 <= i < 18 else f for i, f in enumerate(frames)]
    dive = look_at(tmp_path, black, BlindInTheDark())
    assert [m.sight for m in dive.moments].count("dark") == 12
    assert [(f.class_name, f.possibly_same) for f in dive.findings] == [("marine_growth", []), ("marine_growth", [1])]


def test_over_a_moment_without_sight_it_goes_on(tmp_path) -> None:
    # too far from where it was for its mask to be followed
    frames = pictures([0, 5, 10, 10, 10, 40, 45, 50])
    black = [f._replace(rgb=np.zeros((*SIZE_HW, 3), np.uint8)) if i in (3, 4) else f for i, f in enumerate(frames)]
    dive = look_at(tmp_path, black, BlindInTheDark())
    growth = [f for f in dive.findings if f.class_name == "marine_growth"]
    assert [len(f.tracks) for f in growth] == [2]


def test_with_depth_and_intrinsics_areas_and_the_way_are_metric(tmp_path) -> None:
    depth_m = np.full(SIZE_HW, 2.0, np.float32)
    frames = [frame._replace(depth_m=depth_m) for frame in pictures(PASS)]
    dive = look_at(tmp_path, frames, camera=Pinhole(200.0, 200.0, 79.5, 59.5))
    per_px = 2.0 / 200
    assert sum(p.length for p in dive.strip.pieces) == pytest.approx(360 * per_px, rel=0.02)
    for finding, (_, _, radius, _) in zip(dive.findings, THINGS, strict=True):
        assert finding.area_m2 == pytest.approx(np.pi * (radius * per_px) ** 2, rel=0.05)


def test_a_damaged_frame_is_listed_and_the_dive_goes_on(tmp_path) -> None:
    dive = look_at(tmp_path, pictures(PASS, problem_at={5}))
    assert dive.problems == ["5: damaged"]
    assert [m.sight for m in dive.moments].count("lost") == 1
    assert len(dive.moments) == len(PASS)


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not_killed(tmp_path) -> None:
    killed = SeesDiscs(fails_at=20)
    with pytest.raises(KeyboardInterrupt):
        look_at(tmp_path / "a", pictures(PASS), killed)
    with (tmp_path / "a/journal.jsonl").open("a") as file:
        file.write('{"name": "0')  # as a kill leaves it
    second = SeesDiscs()
    look_at(tmp_path / "a", pictures(PASS), second, resume=True)
    assert second.asked == len(PASS) - 20
    look_at(tmp_path / "b", pictures(PASS))
    for path in sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file()):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_a_journal_is_not_written_over_nor_continued_with_other_settings(tmp_path) -> None:
    look_at(tmp_path, pictures(PASS[:2]))
    with pytest.raises(FileExistsError, match="--resume goes on with it"):
        look_at(tmp_path, pictures(PASS[:2]))
    with pytest.raises(ValueError, match="made with other a"):
        Journal(tmp_path / "journal.jsonl", {"a": 2}, CLASSES, resume=True)


def test_masks_come_back_from_their_run_lengths() -> None:
    rng = np.random.default_rng(1)
    for mask in (rng.random((37, 23)) < 0.3, np.zeros((4, 5), bool), np.ones((4, 5), bool)):
        np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.cards: list[dict[str, str]] = []
        self.outside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        if tag == "article":
            self.cards.append(given)
        loaded = given.get("src") or (given.get("href") if tag in ("image", "link") else None)
        if loaded and not loaded.startswith("data:"):
            self.outside.append(loaded)


def test_the_command_writes_one_page_tables_labels_and_coco(tmp_path, model, capsys) -> None:
    dive = tmp_path / "dive"
    dive.mkdir()
    for frame in pictures(PASS):
        cv2.imwrite(str(dive / frame.name), frame.rgb[..., ::-1])
    (dive / "005.png").write_bytes(b"no picture")
    (tmp_path / "occasion.yaml").write_text("ship: Ex & Ample\nimo_number: 9074729\ndate: 2026-11-20\n")
    model.terms = ("teaching only",)
    out = tmp_path / "out"
    arguments = [str(dive), "-o", str(out), "--occasion", str(tmp_path / "occasion.yaml")]
    assert survey.main(arguments) == 3
    text = (out / "report.html").read_text()
    page = Page(text)
    assert not page.outside
    with (out / "findings.csv").open() as file:
        findings = list(csv.DictReader(file))
    assert {c["id"] for c in page.cards} == {f"f{row['finding']}" for row in findings}
    assert [c["data-class"] for c in page.cards if c["data-unsure"] == "0"].count("marine_growth") == 2
    for wanted in ("Ex &amp; Ample", "9074729", "A person must confirm this", "ab" * 32, "teaching only", "005.png"):
        assert wanted in text
    assert "../dive/0" in text
    with (out / "instances.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        label = cv2.imread(str(out / "labels" / row["frame"]), cv2.IMREAD_UNCHANGED)
        assert label.dtype == np.uint16
        assert np.count_nonzero(label == int(row["label"])) == int(row["area_px"])
    coco = COCO(out / "coco.json")
    assert len(coco.getImgIds()) == len(PASS) - 1
    assert sum(a["area"] for a in coco.loadAnns(coco.getAnnIds())) == sum(int(row["area_px"]) for row in rows)
    assert len(json.loads((out / "journal.jsonl").read_text().splitlines()[1])["results"]) == 1
    assert "3 findings" in capsys.readouterr().out


def test_what_scores_little_in_the_mean_of_its_frames_is_shown_but_not_counted(tmp_path) -> None:
    class Doubts(SeesDiscs):
        """In every other frame its scores are low."""

        def __init__(self, low: float) -> None:
            super().__init__()
            self.low = low

        def predict(self, rgb, depth_m=None, *, score_threshold=0.3):
            found = super().predict(rgb)
            return dataclasses.replace(found, scores=np.full_like(found.scores, (0.9, self.low)[self.asked % 2]))

    for low, counted in ((0.4, 3), (0.2, 0)):
        folder = tmp_path / str(low)
        folder.mkdir()
        dive = look_at(folder, pictures(PASS), Doubts(low))
        facts = facts_of(dive, "dive", lambda *_: "")
        assert (len(facts.findings), len(facts.counted)) == (3, counted)
        assert len(facts_of(dive, "dive", lambda *_: "", count_from=0.5).counted) == 3
        write_report(folder / "report.html", dive, facts, Occasion(), Origin("tiny", "ab", (), 0.3, 0.6, CLASSES))
        cards = Page((folder / "report.html").read_text()).cards
        assert [c["data-unsure"] for c in cards].count("1") == 3 - counted


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_in_a_browser_the_page_shows_what_is_counted_and_filters_by_score(tmp_path) -> None:
    # the anode comes into view in the last frame only
    dive = look_at(tmp_path, pictures([0, 5, 10, 15, 20, 25, 30, 40]))
    origin = Origin("tiny", "ab", (), 0.3, 0.6, CLASSES)
    write_report(tmp_path / "report.html", dive, facts_of(dive, "dive", lambda *_: ""), Occasion(), origin)
    text = (tmp_path / "report.html").read_text()
    stricter = text.replace('id="score" min="0" max="1" step="0.05" value="0"', 'id="score" min="0" max="2" value="2"')
    assert stricter != text
    (tmp_path / "stricter.html").write_text(stricter)
    shown = [in_browser(tmp_path / name) for name in ("report.html", "stricter.html")]
    assert len(dive.findings) == 2
    assert ">1 shown<" in shown[0]
    assert ">0 shown<" in shown[1]


def in_browser(path: Path) -> str:
    """The page as a browser has it once its scripts have run."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'user'}"]
    command += ["--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("number", ["9074728", "12345", "abcdefg"])
def test_an_imo_number_with_a_wrong_check_digit_is_refused(number) -> None:
    with pytest.raises(ValueError, match=f"imo_number '{number}' is none"):
        Occasion(imo_number=number)


def test_metres_need_depth_and_intrinsics(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        survey.main([str(tmp_path), "-o", str(tmp_path / "out"), "--depth", str(tmp_path)])
    assert "metres need both" in capsys.readouterr().err
