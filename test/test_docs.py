"""The Python of the documentation runs, in order, and says what is written below it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import cv2

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/python_api.md"


def masked(text: str) -> str:
    """Scores and sizes of masks differ in the last digits from one CPU to the next."""
    return re.sub(r"\d+", "#", text)


def test_the_blocks_of_the_python_page_run_in_order_and_print_what_it_says(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|text)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {"__name__": "__main__"}
    printed = ""
    for kind, text in blocks:
        if kind == "text":
            assert masked(printed) == masked(text)
            continue
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(text, str(DOCUMENT), "exec"), names)
        printed = output.getvalue()
    assert cv2.imread("api.jpg").shape[2] == 3
    assert len(names["instances"]) > 0
    assert [p.depth_source for p in names["predictions"]] == ["sensor", "sensor", "estimated"]
