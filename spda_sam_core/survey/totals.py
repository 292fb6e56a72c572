"""The numbers at the head of a report, of one dive or of several together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spda_sam_core.survey.drawings import colour_of
from spda_sam_core.survey.facts import Facts
from spda_sam_core.survey.findings import Finding


def totals(dives: Sequence[Facts], class_ids: dict[str, int]) -> str:
    """Counts and lengths in boxes, then a table by class; lengths of different units stand apart."""
    counted = [f for facts in dives for f in facts.counted]
    frames = sum(facts.frames for facts in dives)
    boxes = [
        ("findings", str(len(counted))),
        ("unsure, not counted", str(sum(len(facts.findings) for facts in dives) - len(counted))),
        ("frames with sight", f"{sum(facts.clear for facts in dives) / max(frames, 1):.0%}"),
    ]
    for unit in sorted({facts.unit for facts in dives if facts.frames}):
        boxes += _lengths([facts for facts in dives if facts.unit == unit], unit)
    text = "".join(f"<div><b>{value}</b>{name}</div>" for name, value in boxes)
    table = _by_class(counted, class_ids, metric=any(facts.unit == "m" and facts.frames for facts in dives))
    same = sum(bool(f.possibly_same) for f in counted)
    note = f'<p class="quiet">{same} of them may be one that was seen before; each says which.</p>' if same else ""
    nothing = "<p>Nothing was found that counts.</p>"
    return f'<h2>Totals</h2><div class="totals">{text}</div>{table if counted else nothing}{note}'


def length_of(length: float, unit: str) -> str:
    """A length with its unit."""
    return f"{length:.1f} {unit}"


def area_of(area: float, unit: str) -> str:
    """An area with its unit."""
    return f"{area:.1f} m²" if unit == "m" else f"{area:.1f} sq. picture widths"


def _lengths(dives: Sequence[Facts], unit: str) -> list[tuple[str, str]]:
    seen, covered = sum(facts.seen for facts in dives), sum(facts.covered for facts in dives)
    # where two pieces lie is not known, so neither is what they share
    in_one_piece = sum(facts.pieces for facts in dives) == 1
    return [
        ("way passed", length_of(sum(facts.way for facts in dives), unit)),
        ("hull seen" if in_one_piece else "hull seen; twice where pieces overlap", area_of(seen, unit)),
        ("marine growth, of what was seen", f"{covered / seen if seen else 0.0:.1%}"),
    ]


def _by_class(counted: Sequence[Finding], class_ids: dict[str, int], *, metric: bool) -> str:
    by_class: dict[str, list[Finding]] = {}
    for f in counted:
        by_class.setdefault(f.class_name, []).append(f)
    rows = []
    for name, found in sorted(by_class.items(), key=lambda item: -len(item[1])):
        areas = [f.area_m2 for f in found if f.area_m2 is not None]
        sizes = [f"{sum(areas):.3f}", f"{max(areas):.3f}"] if areas else ["", ""]
        cells = "".join(f'<td class="n">{size}</td>' for size in sizes) if metric else ""
        rows.append(
            f'<tr><td><span class="dot" style="background:{colour_of(class_ids[name])}"></span>{escape(name)}</td>'
            f'<td class="n">{len(found)}</td>{cells}<td class="n">{max(f.score for f in found):.2f}</td></tr>'
        )
    sizes_named = '<th class="n">area together, m²</th><th class="n">largest, m²</th>' if metric else ""
    return (
        f'<table><tr><th>class</th><th class="n">findings</th>{sizes_named}'
        f'<th class="n">best score</th></tr>{"".join(rows)}</table>'
    )
