"""The comparison with Mask R-CNN: what a file may say, how long a run is, what is done once, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.peers import format_table, off_budget, run
from benchmarks.peers_setup import Peer, Setup, load_setup, planned_steps, steps_within
from benchmarks.timing import median_ms

REPOSITORY = Path(__file__).resolve().parents[2]


def written(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "peers.yaml"
    peer = {"name": "a", "title": "A", "network": "spda_sam"}
    data = {"train": "config/train/peers.yaml", "output": str(tmp_path), "warmup_share": 0.1, "decay_share": 0.5}
    data["peers"] = [peer]
    path.write_text(yaml.safe_dump({**data, **changes}), encoding="utf-8")
    return path


def test_ours_differ_in_depth_alone_and_all_see_the_same_augmentation_and_size(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    setup = load_setup(Path("config/peers.yaml"))
    rgbd, rgb, mask_rcnn = setup.peers
    assert dict(rgb.model) == {"use_depth": False}
    assert not rgbd.model
    assert not rgbd.train
    assert not rgb.train
    configs = [setup.config(peer) for peer in (rgbd, rgb, mask_rcnn)]
    for name in ("augment", "seed", "data", "model"):
        assert len({str(getattr(config, name)) for config in configs}) == 1, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_share": 0.6}, r"warmup_share 0.6 and decay_share 0.5 must be at least 0, and together at most 1"),
        ({"peers": []}, "give at least one"),
        ({"peers": [{"name": "a", "title": "A", "network": "yolo"}]}, "network: 'yolo': choose one of spda_sam"),
        ({"peers": [{"name": "a", "title": "A", "network": "mask_rcnn", "model": {"width": 8}}]}, "leave it out"),
        ({"peers": [{"name": "a", "title": "A", "network": "spda_sam", "train": {"step": 1}}]}, "mean 'steps'"),
        ({"peers": [{"name": "a", "title": "A", "network": "spda_sam", "model": {"depth": 1}}]}, "unknown key 'depth'"),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_anything_runs(monkeypatch, tmp_path, changes, message) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(ValueError, match=message):
        load_setup(written(tmp_path, **changes))


def test_the_start_of_a_run_is_no_part_of_the_time_of_a_step() -> None:
    # 7 s to start and 2 s a step
    assert steps_within(1500, short_s=27, long_s=87) == 746


def test_a_time_that_holds_fewer_steps_than_were_timed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"60 s are 26 steps of 2.00 s, at least 40 are needed"):
        steps_within(60, short_s=27, long_s=87)
    with pytest.raises(ValueError, match="calmer machine"):
        steps_within(60, short_s=27, long_s=26)


def test_a_run_keeps_its_steps_when_the_machine_has_become_slower(tmp_path) -> None:
    folder = tmp_path / "rgbd"
    assert planned_steps(folder, 25, lambda steps: 2.0 * steps) == 750
    assert planned_steps(folder, 25, lambda steps: 4.0 * steps) == 750
    with pytest.raises(ValueError, match=r"plan.json: was given 25 minutes, not 30: give --minutes 25"):
        planned_steps(folder, 30, lambda steps: 2.0 * steps)


def result(**changes: object) -> dict[str, object]:
    keys = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_agnostic", "mask_ap_liaci")
    numbers = dict(zip(keys, (20.04, 40.0, 18.0, 30.0, 19.0), strict=True))
    more = {"n_images": 2, "minutes": 25.0, "parameters": 4_300_000, "pictures_seen": 8000, "training_seconds": 1499.6}
    return {**numbers, **more, **changes}


def test_what_was_measured_is_read_and_not_done_again_and_other_terms_are_refused(tmp_path) -> None:
    peer = Peer("a", "A", "mask_rcnn")
    setup = Setup("config/train/peers.yaml", str(tmp_path), 0.1, 0.5, (peer,))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/result.json").write_text(json.dumps(result()), encoding="utf-8")
    again = {"device": None, "workers": 0}  # nothing that could train
    assert run(setup, peer, 25, {"test": [None] * 2}, **again)["mask_ap"] == 20.04
    with pytest.raises(ValueError, match="was given 25 minutes, not 10"):
        run(setup, peer, 10, {"test": [None] * 2}, **again)
    with pytest.raises(ValueError, match=r"measured on 2 pictures, not 3: remove it to measure again"):
        run(setup, peer, 25, {"test": [None] * 3}, **again)


def test_the_table_has_a_line_per_network_with_its_numbers() -> None:
    setup = Setup("", "", 0.1, 0.5, (Peer("a", "ours", "spda_sam"), Peer("b", "theirs", "mask_rcnn")))
    results = {"a": result(), "b": result(mask_ap=1.5, mask_ap_liaci=None, parameters=45_930_000)}
    table = format_table(setup, results, {"a": 120.4, "b": 1800.0}).splitlines()
    assert table[0].count("|") == table[1].count("|") == table[2].count("|")
    assert table[2] == "| ours | 20.0 | 40.0 | 18.0 | 30.0 | 19.0 | 4.30 M | 120 | 8000 | 1500 |"
    assert table[3] == "| theirs | 1.5 | 40.0 | 18.0 | 30.0 | - | 45.93 M | 1800 | 8000 | 1500 |"
    assert len(table) == 4


def test_a_network_that_missed_its_time_is_named_with_both_times() -> None:
    setup = Setup("", "runs", 0.1, 0.5, (Peer("a", "ours", "spda_sam"), Peer("b", "theirs", "mask_rcnn")))
    (line,) = off_budget(setup, {"a": result(training_seconds=1800.0), "b": result(training_seconds=1503.0)})
    assert line.startswith("ours: given 1500 s, took 1800 s")
    assert "remove runs/a" in line


def test_networks_take_turns_on_the_same_pictures() -> None:
    seen: list[tuple[str, int]] = []
    times = median_ms({name: lambda i, name=name: seen.append((name, i)) for name in "ab"}, rounds=3)
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert set(times) == {"a", "b"}
