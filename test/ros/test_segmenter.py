"""What one image and the depth at hand lead to, with a model that records what it is asked."""

import gc
import re
import weakref
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from steps import done

from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.results.instances import Instances
from spda_sam_ros.messages.results import encode_image
from spda_sam_ros.pairing import DepthPairing
from spda_sam_ros.parameters import Settings
from spda_sam_ros.segmenter import Dropped, Frame, Segmenter

HEIGHT, WIDTH = 6, 8
CLASSES = ("anode", "ship_hull")
STAMP_S = 100


class SpdaSam:
    """Finds one anode in the left half and one hull in the right."""

    def __init__(self):
        self.calls = []

    def predict_batch(self, images, depths_m, *, score_threshold, estimate_depth):
        (rgb,), (depth_m,) = images, depths_m
        self.calls.append(SimpleNamespace(rgb=rgb, depth_m=depth_m, score=score_threshold, estimate=estimate_depth))
        masks = np.zeros((2, *rgb.shape[:2]), bool)
        masks[0, :, : WIDTH // 2] = True
        masks[1, :, WIDTH // 2 :] = True
        boxes = np.zeros((2, 4), np.float32)
        found = Instances(masks, boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1]), CLASSES)
        return [SimpleNamespace(instances=found, depth=None, depth_source="none", stage_ms={"model": 1.0})]


def header(stamp_s=STAMP_S, frame_id="camera"):
    return Header(stamp=Time(sec=stamp_s), frame_id=frame_id)


def image(height=HEIGHT, width=WIDTH, **options):
    return encode_image(np.full((height, width, 3), 7, np.uint8), "rgb8", header(**options))


def depth(metres=2.0, height=HEIGHT, width=WIDTH, encoding="32FC1", **options):
    message = encode_image(np.full((height, width), metres, np.float32), "32FC1", header(**options))
    message.encoding = encoding
    return message


class Bench:
    def __init__(self, depth_message=None, **settings):
        self.model, self.pairing = SpdaSam(), DepthPairing(lambda: None)
        self.segmenter = Segmenter(self.model, self.pairing)
        self.settings = Settings(**settings)
        if depth_message is not None:
            self.pairing.add_depth(depth_message)

    def segment(self, message=None, now_s=STAMP_S):
        frame = Frame(image() if message is None else message, arrived_s=0.0)
        return done(self.segmenter.segment(frame, self.settings, now_ns=round(now_s * 1e9)))


@pytest.mark.parametrize("refused", [None, depth(height=3)])
def test_a_frame_without_depth_is_freed_once_nobody_needs_it_without_the_garbage_collector(refused):
    bench = Bench(refused)
    gc.disable()
    try:
        result = bench.segment()
        assert result.no_depth is not None
        masks = weakref.ref(result.instances.masks)
        del result
        assert masks() is None
    finally:
        gc.enable()


def test_depth_of_the_moment_reaches_the_network_in_metres():
    bench = Bench(depth(2.5))
    result = bench.segment()
    np.testing.assert_array_equal(bench.model.calls[0].depth_m, np.full((HEIGHT, WIDTH), 2.5, np.float32))
    assert result.sensor_depth.skew_s == 0
    assert result.sensor_depth.valid_percent == 100
    assert result.no_depth is None
    assert result.header == header()
    assert set(result.stage_ms) == {"decode", "pair", "model"}


def test_the_share_of_valid_depth_is_told():
    half = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    half[:, ::2] = 0
    assert Bench(encode_image(half, "16UC1", header())).segment().sensor_depth.valid_percent == 50


UNUSABLE = {
    "absent": (None, "no depth arrived"),
    "unpaired": (depth(stamp_s=STAMP_S - 1), "-1.000 s from the image"),
    "refused, size": (
        depth(height=3),
        "depth has 8x3 pixels, the image 8x6: bring depth into the camera's view",
    ),
    "refused, frame": (depth(frame_id="depth_camera"), "frame 'depth_camera', not in the image's 'camera'"),
    "refused, encoding": (depth(encoding="mono16"), "depth encoding 'mono16' is not depth"),
    "refused, truncated": (
        Image(header=header(), height=6, width=8, encoding="16UC1", step=16),
        "data has 0",
    ),
    "empty, NaN": (depth(np.nan), "no valid pixel"),
    "empty, zero": (depth(0.0), "no valid pixel"),
}


@pytest.mark.parametrize("policy", ["estimate", "rgb_only", "drop"])
@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_depth_leads_to_what_the_policy_says(case, policy):
    message, text = UNUSABLE[case]
    bench = Bench(message, depth_policy=policy)
    if policy == "drop":
        with pytest.raises(Dropped, match=re.escape(text)) as error:
            bench.segment()
        assert error.value.reason == "no_depth"
        assert not bench.model.calls
        return
    result = bench.segment()
    assert result.no_depth.reason == case.split(",")[0]
    assert text in str(result.no_depth)
    assert bench.model.calls[0].depth_m is None
    assert bench.model.calls[0].estimate is (policy == "estimate")


def test_registration_is_named_as_the_cure():
    for case in ("refused, size", "refused, frame"):
        assert "depth_image_proc/register" in str(Bench(UNUSABLE[case][0]).segment().no_depth)


def test_an_image_beyond_max_age_is_dropped_before_any_work():
    bench = Bench(max_age_s=0.5)
    with pytest.raises(Dropped, match=r"0\.600 s old, max_age_s is 0\.5") as error:
        bench.segment(now_s=STAMP_S + 0.6)
    assert error.value.reason == "too_old"
    bench.segment(now_s=STAMP_S + 0.4)
    bench.segment(now_s=STAMP_S - 1000)  # from the future: a clock problem, but not an old image
    assert len(bench.model.calls) == 2


def test_without_max_age_any_stamp_is_segmented():
    Bench().segment(now_s=STAMP_S + 1e9)


def test_a_malformed_image_is_dropped_with_the_reason():
    broken = image()
    broken.data = array("B", bytes(10))
    with pytest.raises(Dropped, match="data has 10 bytes") as error:
        Bench().segment(broken)
    assert error.value.reason == "bad_image"


def test_settings_reach_the_network_and_classes_are_filtered():
    bench = Bench(score_threshold=0.45, class_filter=("ship_hull",))
    result = bench.segment()
    assert bench.model.calls[0].score == 0.45
    assert [result.instances.class_names[i] for i in result.instances.class_ids] == ["ship_hull"]
    assert len(result.prediction.instances) == 2


def test_compressed_images_and_depth():
    data = array("B", cv2.imencode(".png", np.full((HEIGHT, WIDTH, 3), 7, np.uint8))[1].tobytes())
    png = cv2.imencode(".png", np.full((HEIGHT, WIDTH), 1500, np.uint16))[1].tobytes()
    compressed_depth = CompressedImage(
        header=header(), format="16UC1; compressedDepth png", data=array("B", bytes(12) + png)
    )
    bench = Bench(compressed_depth)
    result = bench.segment(CompressedImage(header=header(), format="png", data=data))
    assert result.rgb.shape == (HEIGHT, WIDTH, 3)
    assert bench.model.calls[0].depth_m[0, 0] == pytest.approx(1.5)


def test_each_image_may_have_another_size():
    bench = Bench(depth())
    for height, width in ((6, 8), (12, 16), (5, 9)):
        assert bench.segment(image(height, width)).instances.masks.shape[1:] == (height, width)
    assert stamp_to_ns(header().stamp) == STAMP_S * 10**9
