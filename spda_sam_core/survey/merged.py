"""One page over several dives: totals, each dive with a link to its own page, and all findings together."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from spda_sam_core.survey.clock import clock
from spda_sam_core.survey.facts import Facts
from spda_sam_core.survey.gallery import gallery
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.page import page_of
from spda_sam_core.survey.report import Origin, head, origin_table, problems_list
from spda_sam_core.survey.totals import area_of, length_of, totals


def write_merged_report(path: Path, dives: Sequence[Facts], occasion: Occasion, origin: Origin) -> None:
    """Write the page.

    Args:
        path: the file, in the folder in which those of the dives are.
        dives: in the order in which they were given; those that could not be surveyed too.
        occasion: what people know of them.
        origin: what made them.
    """
    title = str(occasion.ship) or f"{len(dives)} dives"
    class_ids = {name: i for i, name in enumerate(origin.class_names)}
    frames, length_ns = sum(d.frames for d in dives), sum(d.length_ns for d in dives)
    body = [
        f"<h1>Underwater survey: {escape(title)}</h1>",
        head(occasion, f"{len(dives)} dives", frames, length_ns),
        totals(dives, class_ids),
        "<h2>Dives</h2>",
        _table(dives),
        '<p class="quiet">Timeline and map of a dive are on its own page. What two dives show both counts twice: where '
        "they lie to each other is not known.</p>",
        gallery(dives, path.parent, class_ids),
        problems_list(
            [f"{dive.source}: {problem}" for dive in dives for problem in (*dive.problems, dive.failed) if problem]
        ),
        origin_table(origin),
    ]
    path.write_text(page_of(title, body), encoding="utf-8")


def _table(dives: Sequence[Facts]) -> str:
    rows = []
    for number, dive in enumerate(dives, start=1):
        if dive.failed:
            rows.append(f'<tr><td>{number} {escape(dive.source)}</td><td colspan="6">could not be surveyed</td></tr>')
            continue
        link = f'<a href="{quote(dive.folder)}report.html">{escape(dive.source)}</a>'
        growth = f"{dive.covered / dive.seen if dive.seen else 0.0:.1%}"
        numbers = (
            clock(dive.length_ns), f"{dive.clear} of {dive.frames}", str(len(dive.counted)),
            length_of(dive.way, dive.unit), area_of(dive.seen, dive.unit), growth,
        )  # fmt: skip
        rows.append(f"<tr><td>{number} {link}</td>{''.join(f'<td class=n>{n}</td>' for n in numbers)}</tr>")
    names = ("length", "frames with sight", "findings", "way passed", "hull seen", "marine growth")
    heads = "".join(f'<th class="n">{name}</th>' for name in names)
    return f"<table><tr><th>dive</th>{heads}</tr>{''.join(rows)}</table>"
