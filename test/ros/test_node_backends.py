"""What runs the network: measured at the first start, said in log and diagnostics, and an exported file on its own."""

from pathlib import Path

from node_bench import picture

from spda_sam_core.graph.cache import graph_of


def image_only(header):
    return {"image": picture(header)}


def test_the_fastest_backend_is_measured_at_the_first_start_and_told(start, tiny_checkpoint, tmp_path):
    with start({"checkpoint": tiny_checkpoint, "backend": "auto"}, variables={"XDG_CACHE_HOME": str(tmp_path)}) as (
        node,
        robot,
    ):
        robot.segment(image_only, deadline_s=200)
        _, values = robot.diagnostics(lambda s: any(v.key == "backend" for v in s.values))
        assert values["backend_reason"].startswith(f"fastest here: {values['backend']} ")
        log = node.log.read_text(errors="replace")
    assert "measuring onnxruntime, " in log
    assert f"{values['backend']} on cpu: fastest here: " in log


def test_an_exported_file_is_served_alone_and_without_pytorch(start, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(graph_of(tiny_checkpoint).read_bytes())
    with start({"checkpoint": alone, "backend": "onnxruntime"}) as (node, robot):
        robot.segment(image_only)
        _, values = robot.diagnostics(lambda s: any(v.key == "backend" for v in s.values))
        assert (values["backend"], values["precision"], values["preset"]) == ("onnxruntime", "float32", "tiny")
        loaded = Path(f"/proc/{node.process.pid}/maps").read_text()
        assert "onnxruntime" in loaded
        assert "libtorch" not in loaded
