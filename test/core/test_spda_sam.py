"""From arrays to instances, with sensor depth, estimated depth, and none; the network stands behind a runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from spda_sam_core.depth.normalisation import normalise_depth, normalise_inverse_depth
from spda_sam_core.preprocess import Letterbox, prepare
from spda_sam_core.results.calibration import Calibration
from spda_sam_core.results.postprocess import postprocess
from spda_sam_core.runtimes.runtime import NetworkInfo, RawOutput
from spda_sam_core.spda_sam import Prediction, SpdaSam

SIZE = 96
NAMES = ("anode", "hull", "object")


class FakeRuntime:
    """Finds bright things, and a thing that is as likely as depth is near; keeps what it was asked."""

    device = "cpu"

    def __init__(self, *, reads_depth: bool = True) -> None:
        self.info = NetworkInfo("fake", NAMES, SIZE, reads_depth, "abc")
        self.asked: list[tuple[np.ndarray, ...]] = []

    def run(
        self, image: np.ndarray, inverse_depth: np.ndarray, depth_valid: np.ndarray, estimate: np.ndarray
    ) -> RawOutput:
        self.asked.append((image, inverse_depth, depth_valid, estimate))
        batch, cells = len(image), SIZE // 4
        normalised = (image.mean(axis=3) - 115) / 58
        bright = normalised.reshape(batch, 1, cells, 4, cells, 4).mean(axis=(3, 5))
        row = np.linspace(-1, 1, cells, dtype=np.float32)
        below = np.broadcast_to(row[:, None], (batch, 1, cells, cells))
        own = np.broadcast_to((row[:, None] + 1) / 2, (batch, 1, cells, cells))
        given = inverse_depth.reshape(batch, 1, cells, 4, cells, 4).mean(axis=(3, 5))
        seen = np.where(estimate[:, None, None, None] == 1, own, given).astype(np.float32)
        classes = np.full((batch, 2, 3), -3, np.float32)
        classes[:, 0, 1] = 2
        classes[:, 1, 2] = 4 * seen.mean(axis=(1, 2, 3)) - 1
        masks = np.concatenate([bright, below], axis=1).astype(np.float32)
        return RawOutput(masks, classes, np.full((batch, 2), 0.9, np.float32), seen)

    def facts(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        pass


class Ramp:
    """A depth estimator that says: near at the bottom."""

    def __init__(self) -> None:
        self.calls = 0

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        height, width = rgb.shape[:2]
        return np.tile(np.linspace(0, 7, height, dtype=np.float32)[:, None], (1, width))


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def model(runtime: FakeRuntime) -> SpdaSam:
    return SpdaSam(runtime)


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, height // 8 + 1, axis=0), width // 8 + 1, axis=1)[:height, :width]


def sensor(height: int = 120, width: int = 160) -> np.ndarray:
    return np.linspace(0.5, 4, height * width, dtype=np.float32).reshape(height, width)


def predict_one(model: SpdaSam, rgb: np.ndarray, depth_m: np.ndarray | None = None, **options: Any) -> Prediction:
    return model.predict_batch([rgb], [depth_m], **options)[0]


def test_prediction_is_the_three_steps_in_a_row(model: SpdaSam) -> None:
    rgb, depth_m = picture(), sensor()
    result = model.predict(rgb, depth_m, score_threshold=0.0)
    box = Letterbox(120, 160, SIZE)
    output = FakeRuntime().run(*prepare(rgb, normalise_depth(depth_m, box.resized_hw), SIZE), np.zeros(1, np.float32))
    expected = postprocess(
        output.mask_logits[0],
        output.class_logits[0],
        output.predicted_iou[0],
        letterbox=box,
        class_names=NAMES,
        score_threshold=0.0,
    )
    assert len(expected) == 2
    np.testing.assert_array_equal(result.masks, expected.masks)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert (result.height, result.width) == (120, 160)


def test_scores_go_through_the_calibration_of_the_checkpoint(runtime: FakeRuntime, model: SpdaSam) -> None:
    raw = model.predict(picture(), sensor(), score_threshold=0.0)
    calibration = Calibration((2.0,), (0.5,))
    runtime.info = dataclasses.replace(runtime.info, calibration=calibration)
    result = SpdaSam(runtime).predict(picture(), sensor(), score_threshold=0.0)
    assert len(result)
    np.testing.assert_allclose(result.scores, calibration(raw.scores, raw.class_ids), rtol=1e-5)


def test_the_threshold_holds(model: SpdaSam) -> None:
    scores = model.predict(picture(), sensor(), score_threshold=0.0).scores
    assert len(scores)
    kept = model.predict(picture(), sensor(), score_threshold=float(scores[0])).scores
    assert kept.tolist() == scores[scores >= scores[0]].tolist()
    assert len(model.predict(picture(), sensor(), score_threshold=1.0)) == 0


def test_sensor_depth_is_used_and_nothing_is_estimated_beside_it(runtime: FakeRuntime) -> None:
    estimator = Ramp()
    result = predict_one(SpdaSam(runtime, depth_estimator=estimator), picture(), sensor())
    assert result.depth_source == "sensor"
    seen = normalise_depth(sensor(), (72, 96))
    _, inverse_depth, depth_valid, estimate = runtime.asked[0]
    np.testing.assert_array_equal(inverse_depth[0, 0, :72], seen.inverse_depth)
    assert depth_valid[0, 0, :72].all()
    assert not depth_valid[0, 0, 72:].any()
    assert estimate.tolist() == [0]
    assert estimator.calls == 0


def test_depth_is_told_at_the_size_of_the_image_with_its_holes(model: SpdaSam) -> None:
    depth_m = sensor()
    depth_m[:60, :80] = 0
    result = predict_one(model, picture(), depth_m)
    assert result.depth is not None
    assert result.depth.valid.shape == (120, 160)
    assert not result.depth.valid[:59, :79].any()
    assert result.depth.valid[61:].all()
    whole = normalise_depth(depth_m)
    known = result.depth.valid & whole.valid
    np.testing.assert_allclose(result.depth.inverse_depth[known], whole.inverse_depth[known], atol=0.1)


@pytest.mark.parametrize("depth_m", [None, np.full((120, 160), np.nan, np.float32), np.zeros((120, 160))])
def test_missing_depth_is_estimated_by_the_network_itself(
    runtime: FakeRuntime, model: SpdaSam, depth_m: np.ndarray | None
) -> None:
    result = predict_one(model, picture(), depth_m)
    assert result.depth_source == "estimated"
    _, inverse_depth, depth_valid, estimate = runtime.asked[0]
    assert estimate.dtype == np.float32
    assert estimate.tolist() == [1]
    assert not inverse_depth.any()
    assert not depth_valid.any()


def test_the_networks_own_estimate_is_told_without_the_padding(model: SpdaSam) -> None:
    depth = predict_one(model, picture()).depth
    assert depth is not None
    assert depth.valid.all()
    assert depth.inverse_depth.shape == (120, 160)
    # its ramp goes from 0 to 1 over the 96 rows of the input, of which the image fills 72
    expected = np.linspace(0, 17 / 23, 120)
    np.testing.assert_allclose(depth.inverse_depth[5:-5, 80], expected[5:-5], atol=0.03)


def test_an_estimator_beside_the_network_takes_its_place(runtime: FakeRuntime) -> None:
    estimator = Ramp()
    result = predict_one(SpdaSam(runtime, depth_estimator=estimator), picture())
    assert result.depth_source == "estimated"
    assert estimator.calls == 1
    _, inverse_depth, depth_valid, estimate = runtime.asked[0]
    assert estimate.tolist() == [0]
    seen = normalise_inverse_depth(Ramp().estimate(picture()), (72, 96))
    np.testing.assert_array_equal(inverse_depth[0, 0, :72], seen.inverse_depth)
    assert depth_valid[0, 0, :72].all()


@pytest.mark.parametrize("depth_m", [None, np.full((120, 160), np.inf, np.float32)])
def test_missing_depth_is_left_out_on_request(runtime: FakeRuntime, model: SpdaSam, depth_m: np.ndarray | None) -> None:
    result = predict_one(model, picture(), depth_m, estimate_depth=False)
    assert (result.depth, result.depth_source) == (None, "none")
    assert runtime.asked[0][3].tolist() == [0]


def test_a_network_without_depth_estimates_none() -> None:
    runtime, estimator = FakeRuntime(reads_depth=False), Ramp()
    model = SpdaSam(runtime, depth_estimator=estimator)
    assert not model.estimates_depth
    assert predict_one(model, picture()).depth_source == "none"
    assert runtime.asked[0][3].tolist() == [0]
    assert estimator.calls == 0


def test_relative_depth_stands_in_for_an_estimate_and_metric_depth_for_both(
    runtime: FakeRuntime, model: SpdaSam
) -> None:
    inverse = np.linspace(9, 2, 120 * 160, dtype=np.float32).reshape(120, 160)
    for depth_m, source, expected in (
        (None, "relative", normalise_inverse_depth(inverse, (72, 96))),
        (np.zeros((120, 160), np.float32), "relative", normalise_inverse_depth(inverse, (72, 96))),  # knows nothing
        (sensor(), "sensor", normalise_depth(sensor(), (72, 96))),
    ):
        result = predict_one(model, picture(), depth_m, relative_inverse_depths=[inverse])
        assert result.depth_source == source
        _, inverse_depth, _, estimate = runtime.asked[-1]
        np.testing.assert_array_equal(inverse_depth[0, 0, :72], expected.inverse_depth)
        assert estimate.tolist() == [0]
    with pytest.raises(ValueError, match=r"relative inverse depth has \(5, 6\) pixels, the image \(120, 160\)"):
        predict_one(model, picture(), relative_inverse_depths=[np.ones((5, 6), np.float32)])


def test_a_batch_of_any_sizes_and_depths_is_what_its_images_are(runtime: FakeRuntime, model: SpdaSam) -> None:
    images = [picture(), picture(90, 200), picture(333, 100)]
    depths = [sensor(), None, None]
    together = model.predict_batch(images, depths, score_threshold=0.0)
    assert len(runtime.asked) == 1
    assert runtime.asked[0][3].tolist() == [0, 1, 1]
    for result, rgb, depth_m in zip(together, images, depths, strict=True):
        alone = predict_one(model, rgb, depth_m, score_threshold=0.0)
        assert result.depth_source == alone.depth_source
        np.testing.assert_array_equal(result.instances.masks, alone.instances.masks)
        np.testing.assert_allclose(result.instances.scores, alone.instances.scores, rtol=1e-5)
    with pytest.raises(ValueError, match="3 images, but 2 depths"):
        model.predict_batch(images, depths[:2])
    assert model.predict_batch([]) == []


def test_the_image_size_may_change_between_frames(model: SpdaSam) -> None:
    for size in ((120, 160), (333, 200), (1, 9)):
        result = model.predict(picture(*size), sensor(*size))
        assert (result.height, result.width) == size


def test_stages_are_timed(model: SpdaSam) -> None:
    stage_ms = predict_one(model, picture(), sensor()).stage_ms
    assert list(stage_ms) == ["depth", "preprocess", "model", "postprocess"]
    assert all(ms > 0 for ms in stage_ms.values())


def test_warm_up_runs_the_estimator_too(runtime: FakeRuntime) -> None:
    estimator = Ramp()
    SpdaSam(runtime, depth_estimator=estimator).warm_up()
    assert (len(runtime.asked), estimator.calls) == (1, 1)


def test_bad_images_are_refused_before_anything_runs(runtime: FakeRuntime) -> None:
    estimator = Ramp()
    model = SpdaSam(runtime, depth_estimator=estimator)
    for shape in ((0, 160, 3), (120, 160), (120, 160, 4)):
        with pytest.raises(ValueError, match="rgb has shape"):
            model.predict(np.zeros(shape, np.uint8))
    with pytest.raises(TypeError, match="rgb is float64"):
        model.predict(np.zeros((120, 160, 3)))  # type: ignore[arg-type]
    assert (len(runtime.asked), estimator.calls) == (0, 0)


def test_depth_of_another_size_is_refused(model: SpdaSam) -> None:
    with pytest.raises(ValueError, match=r"depth has \(60, 80\) pixels, the image \(120, 160\)"):
        model.predict(picture(), sensor(60, 80))


def test_it_is_what_its_runtime_is(model: SpdaSam) -> None:
    assert (model.preset, model.class_names, model.input_size) == ("fake", NAMES, SIZE)
    assert model.checkpoint_sha256 == "abc"
    assert model.estimates_depth
