"""A checkpoint rebuilds the same model; whatever else is given names the file, the fault and the fix."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.weights.checkpoint import load_checkpoint, save_checkpoint, update_metadata
from spda_sam_core.weights.files import CheckpointError, file_sha256, read_header
from spda_sam_core.weights.find import find_checkpoint

METADATA = {"commit": "12345678", "metrics": {"mask_ap": 41.5}, "data": "seed 1", "steps": 3}


@pytest.fixture(scope="module")
def model() -> SpdaSamNetwork:
    torch.manual_seed(0)
    return build_network(load_model_config("tiny", class_names=("anode", "object"))).eval()


@pytest.fixture(scope="module")
def original(model: SpdaSamNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(path, model, METADATA)
    return path


@pytest.fixture
def file(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copy = tmp_path / "model.safetensors"
    copy.write_bytes(original.read_bytes())
    return copy


def rewrite(path: Path, **changes: str) -> None:
    """Replace header entries and keep the weights."""
    header = {**read_header(path), **changes}
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, header)


def test_round_trip_gives_the_same_weights_in_float16_precision(model: SpdaSamNetwork, original: Path) -> None:
    loaded, info = load_checkpoint(original)
    assert loaded.config == model.config == info.config
    assert not loaded.training
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        torch.testing.assert_close(tensor, expected[name].half().to(tensor.dtype), rtol=0, atol=0)


def test_round_trip_gives_the_same_outputs(model: SpdaSamNetwork, original: Path) -> None:
    size = model.config.input_size
    torch.manual_seed(1)
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    inputs = image, torch.rand(1, 1, size, size), torch.ones(1, 1, size, size), torch.ones(1)
    rounded = build_network(model.config).eval()
    rounded.load_state_dict(
        {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    )
    with torch.inference_mode():
        for ours, theirs in zip(load_checkpoint(original)[0](*inputs), rounded(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_weights_are_float16_on_disk(model: SpdaSamNetwork, original: Path) -> None:
    with safe_open(str(original), "pt") as stored:
        for name, tensor in model.state_dict().items():
            assert stored.get_tensor(name).dtype == (torch.half if tensor.is_floating_point() else tensor.dtype)


def test_metadata_keep_their_types(original: Path) -> None:
    _, info = load_checkpoint(original)
    assert info.metadata == METADATA
    assert info.path == original


def test_sha256_is_that_of_the_file(original: Path) -> None:
    expected = hashlib.sha256(original.read_bytes()).hexdigest()
    assert load_checkpoint(original)[1].sha256 == file_sha256(original) == expected


def test_values_too_large_for_float16_survive(model: SpdaSamNetwork, tmp_path: Path) -> None:
    big = build_network(model.config)
    name, parameter = next(iter(big.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[0] = 1e6
    save_checkpoint(tmp_path / "big.safetensors", big, {})
    loaded, _ = load_checkpoint(tmp_path / "big.safetensors")
    assert loaded.get_parameter(name).view(-1)[0] == 1e6


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(model: SpdaSamNetwork, file: Path) -> None:
    before = file.read_bytes()
    broken = build_network(model.config)
    name, parameter = next(iter(broken.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[0] = torch.nan
    with pytest.raises(CheckpointError, match=f"weight '{name}' is not finite"):
        save_checkpoint(file, broken, {})
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_metadata_cannot_overwrite_the_format(model: SpdaSamNetwork, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['preset'\] are written by save_checkpoint"):
        save_checkpoint(tmp_path / "x.safetensors", model, {"preset": "huge"})


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.safetensors"
    with pytest.raises(CheckpointError, match=rf"{path}: no such file: give the path .* or 'tiny'"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.999])
def test_truncated_file(file: Path, share: float) -> None:
    data = file.read_bytes()
    length = max(12, int(len(data) * share))
    file.write_bytes(data[:length])
    with pytest.raises(CheckpointError, match=rf"{file}: truncated, {length} of \d+ bytes: copy"):
        load_checkpoint(file)


def test_empty_and_text_files(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"version https://git-lfs.github.com/spec/v1\n" * 9)):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{path}: not a safetensors file \({len(content)} bytes\)"):
            load_checkpoint(path)


def test_damaged_header(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[9:40] = b"\xff" * 31
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{file}: damaged header"):
        load_checkpoint(file)


def test_pickles_are_refused_without_being_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    path = tmp_path / "model.pth"
    for write in (torch.save, lambda trap, p: p.write_bytes(pickle.dumps(trap))):
        write(Trap(), path)
        with pytest.raises(CheckpointError, match=r"\.pth: not a safetensors file .* no checkpoints of ours"):
            load_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


def test_safetensors_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=rf"{path}: format is None, expected 'spda_sam/2'"):
        load_checkpoint(path)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"format": "spda_sam_depth/1"})
    with pytest.raises(CheckpointError, match="format is 'spda_sam_depth/1'"):
        load_checkpoint(path)


def test_a_checkpoint_of_the_version_before_is_refused_by_name_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"format": "spda_sam/1", "preset": "tiny"})
    with pytest.raises(
        CheckpointError, match=rf"{path}: was written by version 0.1.0, .*: use the shipped 'tiny', train"
    ):
        load_checkpoint(path)


def test_another_preset_is_refused_by_name(file: Path) -> None:
    load_checkpoint(file, preset="tiny")
    with pytest.raises(CheckpointError, match=rf"{file}: is for preset 'tiny', but 'base' was asked for"):
        load_checkpoint(file, preset="base")


def test_weights_of_another_configuration(model: SpdaSamNetwork, file: Path) -> None:
    weights = safetensors.torch.load_file(file)
    name, _ = next(model.named_parameters())
    header = read_header(file)
    safetensors.torch.save_file({k: v for k, v in weights.items() if k != name}, file, header)
    with pytest.raises(CheckpointError, match=rf"{file}: its weights do not fit its config.*{name}"):
        load_checkpoint(file)
    safetensors.torch.save_file({**weights, name: torch.zeros(1, 2, 3)}, file, header)
    with pytest.raises(CheckpointError, match=rf"do not fit its config.*{name}"):
        load_checkpoint(file)


def test_a_configuration_that_this_version_does_not_know(file: Path) -> None:
    config = json.loads(read_header(file)["config"])
    rewrite(file, config=json.dumps({**config, "warp_factor": 9}))
    with pytest.raises(CheckpointError, match=rf"{file}: its header cannot be used .*warp_factor"):
        load_checkpoint(file)
    rewrite(file, config="{")
    with pytest.raises(CheckpointError, match="its header cannot be used"):
        load_checkpoint(file)


def test_names_are_looked_up_in_the_folder_of_the_environment_first(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPDA_SAM_CHECKPOINTS", str(tmp_path))
    place = tmp_path / "spda_sam_tiny.safetensors"
    file.rename(place)
    assert find_checkpoint("tiny") == place
    assert load_checkpoint("tiny")[1].path == place
    rewrite(place, preset="base")
    with pytest.raises(CheckpointError, match=rf"{place}: is for preset 'base', but 'tiny' was asked for"):
        load_checkpoint("tiny")


def test_an_unknown_name_lists_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPDA_SAM_CHECKPOINTS", str(tmp_path))
    with pytest.raises(CheckpointError, match=rf"no checkpoint 'tinny' .*{tmp_path}/spda_sam_tinny.safetensors"):
        find_checkpoint("tinny")


@pytest.mark.parametrize("base", ["sam_vit_b", "mobile_sam", "weights/sam_vit_b_01ec64.pth"])
def test_a_base_without_trained_heads_is_refused_with_the_remedy(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    Path("weights/sam_vit_b_01ec64.pth").touch()
    with pytest.raises(
        CheckpointError, match=rf"'{base}' .* without trained heads.*config/train/fine_tune_sam.yaml.*or use 'tiny'"
    ):
        load_checkpoint(base)


def test_a_checkpoint_trained_on_a_base_is_found_by_the_name_of_its_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPDA_SAM_CHECKPOINTS", str(tmp_path))
    (tmp_path / "spda_sam_sam_vit_b.safetensors").touch()
    assert find_checkpoint("sam_vit_b") == tmp_path / "spda_sam_sam_vit_b.safetensors"


def test_a_name_with_a_dot_or_slash_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_bytes(b"")
    assert find_checkpoint("./tiny") == Path("tiny")


def weight_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_metadata_can_be_added_to_a_file_whose_weights_keep_every_byte(original: Path, file: Path) -> None:
    update_metadata(file, {"calibration": {"slopes": [2.0], "offsets": [-0.5]}, "data": "sea, 3 °C"})
    assert weight_bytes(file) == weight_bytes(original)
    assert file.stat().st_size % 8 == original.stat().st_size % 8
    _, info = load_checkpoint(file)
    assert info.metadata == {**METADATA, "calibration": {"slopes": [2.0], "offsets": [-0.5]}, "data": "sea, 3 °C"}
    assert info.calibration == Calibration((2.0,), (-0.5,))
    assert load_checkpoint(original)[1].calibration == UNCALIBRATED
    with pytest.raises(ValueError, match=r"metadata keys \['config'\] are written by save_checkpoint itself"):
        update_metadata(file, {"config": {}})


def test_a_change_of_metadata_that_is_interrupted_leaves_the_old_file(
    original: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="no space left"):
        update_metadata(file, {"data": "seed 3"})
    assert file.read_bytes() == original.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_truncated_file_gets_no_metadata(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="truncated"):
        update_metadata(file, {"data": "seed 3"})


def test_a_calibration_that_cannot_be_is_refused_with_the_file(file: Path) -> None:
    for slopes, fault in (([-1.0], "slope must be above 0"), ([1.0] * 3, "maps for 3 classes, but there are 2")):
        update_metadata(file, {"calibration": {"slopes": slopes, "offsets": [0.0] * len(slopes)}})
        with pytest.raises(CheckpointError, match=rf"model\.safetensors: its header cannot be used .*{fault}"):
            load_checkpoint(file)
