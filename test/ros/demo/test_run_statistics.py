import numpy as np
import pytest

from spda_sam_ros.demo.run_statistics import EvenSample, RunStatistics, format_summary

MS = 1_000_000


def test_a_run_sums_up_to_what_was_put_in():
    statistics = RunStatistics()
    ages_ms = [100, 300, 200, 120, 180]
    for i, age_ms in enumerate(ages_ms):
        stamp = i * 200 * MS
        statistics.add_image(stamp)
        statistics.add_label_image(stamp, stamp + age_ms * MS)
        statistics.add_detections(stamp, ["anode", "propeller"] if i else ["anode"])
    statistics.add_image(5 * 200 * MS)  # never answered
    arrivals_s = sorted(0.2 * i + age / 1000 for i, age in enumerate(ages_ms))
    assert statistics.summary() == {
        "frames_in": 6,
        "frames_out": 5,
        "dropped": 1,
        "latency_ms_p50": pytest.approx(np.median(ages_ms)),
        "latency_ms_p95": pytest.approx(np.percentile(ages_ms, 95)),
        "fps": pytest.approx(4 / (arrivals_s[-1] - arrivals_s[0]), abs=0.01),
        "instances": {"anode": 5, "propeller": 4},
    }


def test_results_match_by_stamp_in_any_order_and_count_once():
    statistics = RunStatistics()
    for stamp in (20, 10):
        statistics.add_label_image(stamp, stamp + 5 * MS)
        statistics.add_label_image(stamp, stamp + 50 * MS)
        statistics.add_detections(stamp, ["anode"])
        statistics.add_detections(stamp, ["anode"])
    statistics.add_label_image(99, 99)  # of an image that was not counted
    statistics.add_detections(99, ["propeller"])
    for stamp in (10, 10, 20):
        statistics.add_image(stamp)
    summary = statistics.summary()
    assert (summary["frames_in"], summary["frames_out"], summary["dropped"]) == (2, 2, 0)
    assert summary["latency_ms_p95"] == 5.0
    assert summary["instances"] == {"anode": 2}


def test_a_run_without_results_has_no_latency_and_no_rate():
    statistics = RunStatistics()
    statistics.add_image(1)
    summary = statistics.summary()
    assert (summary["frames_in"], summary["frames_out"], summary["dropped"]) == (1, 0, 1)
    assert (summary["latency_ms_p50"], summary["latency_ms_p95"], summary["fps"]) == (None, None, None)
    assert "-" in format_summary(summary)


def test_the_table_names_every_number():
    statistics = RunStatistics()
    for stamp in (0, 500 * MS):
        statistics.add_image(stamp)
        statistics.add_label_image(stamp, stamp + 120 * MS)
        statistics.add_detections(stamp, ["anode", "bilge_keel"])
    rows = dict(line.split(maxsplit=1) for line in format_summary(statistics.summary()).splitlines()[6:])
    assert rows == {"instances": "4", "anode": "2", "bilge_keel": "2"}
    assert "latency p95" in format_summary(statistics.summary())
    assert "2 frames/s" in format_summary(statistics.summary())


@pytest.mark.parametrize("length", [0, 1, 3, 4, 9, 100, 1001])
def test_a_sample_is_spread_over_the_whole_stream_in_order(length):
    sample = EvenSample(4)
    for i in range(length):
        sample.add(i)
    kept = sample.spread()
    assert len(kept) == min(4, length)
    assert kept == sorted(set(kept))
    if length > 4:
        gaps = np.diff([-1, *kept, length])
        assert gaps.max() <= length / 2


def test_an_empty_sample_is_refused():
    with pytest.raises(ValueError, match="keep at least 1"):
        EvenSample(0)
