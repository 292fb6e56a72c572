"""What a run measures while it goes on: its model on each set of validation pictures, and the mean over sets.

And what is refused before it begins, because learning or measuring would come to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from spda_sam_core.spda_sam import SpdaSam
from training.data.dataset import CocoRgbdDataset
from training.data.mixture import Mixture
from training.measuring.measure import evaluate


def check_validation(sets: Mapping[str, CocoRgbdDataset], class_names: tuple[str, ...]) -> None:
    """Refuse now what the first validation would.

    Raises:
        ValueError: a set with other classes than the model's, or with depth for some of its pictures only; or no
            instance in any of them.
    """
    for name, pictures in sets.items():
        if pictures.class_names != class_names:
            raise ValueError(
                f"{pictures.root}: 'train' has classes {class_names}, '{name}' has {pictures.class_names}: they must "
                "be the same, in the same order"
            )
        with_depth = sum(pictures.has_depth(i) for i in range(len(pictures)))
        if 0 < with_depth < len(pictures):
            raise ValueError(
                f"{pictures.root}: {with_depth} of {len(pictures)} pictures to validate on have depth: estimate the "
                f"rest with python -m training.estimate_depth, for the split that '{name}' is of"
            )
    if not any(pictures.has_instances() for pictures in sets.values()):
        raise ValueError(_nothing_in(sets))


def check_training(mixture: Mixture) -> None:
    """Refuse to learn from nothing.

    Raises:
        ValueError: a set without a single instance.
    """
    for each in mixture.sets:
        if not each.pictures.has_instances():
            raise ValueError(_nothing_in({each.name: each.pictures}))


def _nothing_in(sets: Mapping[str, CocoRgbdDataset]) -> str:
    count = sum(len(pictures) for pictures in sets.values())
    return (
        f"{', '.join(str(pictures.root) for pictures in sets.values())}: not one of {count} pictures of "
        f"'{', '.join(sets)}' has a mask to learn from or be measured by: python training/check.py says what is there"
    )


def validate(model: SpdaSam, sets: Mapping[str, CocoRgbdDataset]) -> dict[str, Any]:
    """Metrics of `training.measuring.measure.evaluate`, with the depth that a set has.

    Args:
        model: the model.
        sets: by name, at least one.

    Returns:
        Of one set, its metrics. Of several: every average precision as the mean over the sets that have it, `per_class`
        the same class by class, and `sets` with the metrics of each.
    """
    found = {name: evaluate(model, each, "true" if each.has_depth(0) else "none") for name, each in sets.items()}
    of_sets = list(found.values())
    if len(of_sets) == 1:
        return of_sets[0]
    of_class = [each["per_class"] for each in of_sets]
    per_class = {name: _mean_precisions([each[name] for each in of_class]) for name in of_class[0]}
    return {**_mean_precisions(of_sets), "per_class": per_class, "sets": found}


def _mean_precisions(of_sets: list[dict[str, Any]]) -> dict[str, float | None]:
    """Each average precision, over the sets in which it is not None."""
    names = [name for name in of_sets[0] if "_ap" in name]
    there = {name: [each[name] for each in of_sets if each[name] is not None] for name in names}
    return {name: mean(values) if values else None for name, values in there.items()}
