"""The comparison with Mask R-CNN: what a file may say, what all have in common, what is done once, and the table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from benchmarks.peers import format_table, run
from benchmarks.peers_setup import Peer, Setup, load_setup
from benchmarks.timing import median_ms

REPOSITORY = Path(__file__).resolve().parents[2]


def written(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "peers.yaml"
    peer = {"name": "a", "title": "A", "network": "spda_sam"}
    data = {"train": "config/train/peers.yaml", "output": str(tmp_path), "pictures": 8000, "peers": [peer]}
    data |= {"warmup_share": 0.1, "decay_share": 0.5}
    path.write_text(yaml.safe_dump({**data, **changes}), encoding="utf-8")
    return path


def test_ours_differ_in_depth_alone_and_all_see_the_same_pictures_with_the_same_encoder(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    setup = load_setup(Path("config/peers.yaml"))
    rgbd, rgb, mask_rcnn = setup.peers
    assert dict(rgb.model) == {"use_depth": False}
    assert not rgbd.model
    assert not rgbd.train
    assert not rgb.train
    configs = [setup.config(peer) for peer in (rgbd, rgb, mask_rcnn)]
    for name in ("augment", "seed", "data", "model", "init_from", "encoder_rate"):
        assert len({str(getattr(config, name)) for config in configs}) == 1, name
    assert {config.steps * config.batch_size for config in configs} == {8000}


def test_another_number_of_pictures_is_another_number_of_steps_with_the_same_shares(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    setup = load_setup(Path("config/peers.yaml"), {"pictures": 1600})
    for peer in setup.peers:
        config = setup.config(peer)
        assert (config.steps, config.warmup_steps, config.decay_steps) == (200, 20, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_share": 0.6}, r"warmup_share 0.6 and decay_share 0.5 must be at least 0, and together at most 1"),
        ({"pictures": 8004}, "peer a: pictures 8004 must be a multiple of batch_size 8"),
        ({"pictures": 0}, "pictures 0 must be a multiple of batch_size 8, at least that"),
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


def result(**changes: object) -> dict[str, object]:
    keys = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap", "mask_ap_agnostic", "mask_ap_liaci")
    numbers = dict(zip(keys, (20.04, 40.0, 18.0, 21.0, 30.0, 19.0), strict=True))
    more = {"n_images": 2, "pictures": 8000, "parameters": 4_300_000, "training_seconds": 1499.6}
    return {**numbers, **more, **changes}


def test_what_was_measured_is_read_and_not_done_again_and_other_terms_are_refused(tmp_path) -> None:
    peer = Peer("a", "A", "mask_rcnn")
    setup = Setup("config/train/peers.yaml", str(tmp_path), 8000, 0.1, 0.5, (peer,))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/result.json").write_text(json.dumps(result()), encoding="utf-8")
    again = {"device": None, "workers": 0}  # nothing that could train
    assert run(setup, peer, {"test": [None] * 2}, **again)["mask_ap"] == 20.04
    with pytest.raises(ValueError, match="trained on 8000 pictures, not 1600: give --pictures 8000"):
        run(dataclasses.replace(setup, pictures=1600), peer, {"test": [None] * 2}, **again)
    with pytest.raises(ValueError, match=r"measured on 2 pictures, not 3: remove it to measure again"):
        run(setup, peer, {"test": [None] * 3}, **again)


def test_the_table_has_a_line_per_network_with_its_numbers() -> None:
    setup = Setup("", "", 8000, 0.1, 0.5, (Peer("a", "ours", "spda_sam"), Peer("b", "theirs", "mask_rcnn")))
    results = {"a": result(), "b": result(mask_ap=1.5, mask_ap_liaci=None, parameters=45_930_000)}
    table = format_table(setup, results, {"a": 120.4, "b": 1800.0}).splitlines()
    assert table[0].count("|") == table[1].count("|") == table[2].count("|")
    assert table[2] == "| ours | 20.0 | 40.0 | 18.0 | 21.0 | 30.0 | 19.0 | 4.30 M | 120 | 1500 |"
    assert table[3] == "| theirs | 1.5 | 40.0 | 18.0 | 21.0 | 30.0 | - | 45.93 M | 1800 | 1500 |"
    assert len(table) == 4


def test_networks_take_turns_on_the_same_pictures() -> None:
    seen: list[tuple[str, int]] = []
    times = median_ms({name: lambda i, name=name: seen.append((name, i)) for name in "ab"}, rounds=3)
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert set(times) == {"a", "b"}
