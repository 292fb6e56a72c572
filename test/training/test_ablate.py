"""Ablations: what a file may say, the order of runs, and that the table is right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from training.ablate import Ablation, Row, format_table, load_ablation

REPOSITORY = Path(__file__).resolve().parents[2]


def test_each_row_of_the_shipped_ablation_is_a_model_and_every_row_runs_once_before_any_runs_twice(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    ablation = load_ablation(Path("config/ablation.yaml"))
    order = [(row.name, seed) for row, seed in ablation.runs()]
    assert len(order) == len(set(order)) == sum(row.seeds for row in ablation.rows)
    assert [seed for _, seed in order] == sorted(seed for _, seed in order)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a", "title": "a", "seeds": 1, "model": {"use_dept": False}}], "row a: .*unknown key 'use_dept'"),
        ([{"name": "a", "title": "a", "seed": 1, "model": {}}], "unknown key 'rows.0..seed': did you mean 'seeds'"),
        ([{"name": "a", "title": "a", "seeds": 1, "model": {}}] * 2, r"rows are named \['a', 'a'\]"),
        ([], "give at least one"),
        ([{"name": "a", "title": "a", "against": "b"}], "against b: choose one of the rows a"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_anything_runs(monkeypatch, tmp_path, rows, message):
    monkeypatch.chdir(REPOSITORY)
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump({"train": "config/train/ablation.yaml", "output": str(tmp_path), "rows": rows}))
    with pytest.raises(ValueError, match=message):
        load_ablation(path)


def test_the_table_has_means_with_standard_errors_and_gains_seed_by_seed():
    """Gains of +2 and +1 have the mean 1.5 and the standard error 0.5, however far the seeds lie apart."""
    rows = (Row("a", "with a", 2), Row("b", "with b", 3, "a"), Row("c", "with c"), Row("d", "with d", 1, "c"))
    metrics = {"mask_ap75": 10.0, "mask_ap_agnostic": 30.0, "parameters": 2_500_000}
    results = {("a", 0): {"mask_ap": 20.0, **metrics}, ("a", 1): {"mask_ap": 23.0, **metrics}}
    for seed, ap in enumerate((22.0, 24.0, 50.0)):
        results["b", seed] = {"mask_ap": ap, **metrics}
    results["d", 0] = {"mask_ap": 7.25, **metrics}
    table = format_table(Ablation("", "", rows), results).splitlines()
    assert table[2] == "| with a | 2 | 21.5 ± 1.5 | 10.0 ± 0.0 | 30.0 ± 0.0 |  |  | 2.50 M |"
    assert "| +1.5 ± 0.5 over with a | +0.0 ± 0.0 | 2.50 M |" in table[3]
    assert table[4] == "| with d | 1 | 7.2 | 10.0 | 30.0 |  |  | 2.50 M |"  # nothing there to compare it with
    assert len(table) == 5
