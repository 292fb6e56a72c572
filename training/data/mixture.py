"""Several data sets to learn from at once: what each labels, and which of their pictures comes when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.settings import settings
from training.data.dataset import CocoRgbdDataset, Sample
from training.data.sampling import Draws, epoch_length, epoch_order


@settings
class DataShare:
    """A data set's part in a mixture.

    Attributes:
        data: YAML of the data set.
        split: of it, to learn from.
        weight: share of the pictures that are of this set, relative to the other sets' weights.
        labels: classes of the model that are labelled wherever this set shows them, so that nothing else in its
            pictures is of them; null: those that its own classes mean.
        complete: whether every thing in its pictures is labelled as something, so that any other mask is bad.
        held_back: share of its pictures, in whole scenes, that are validated on and not learned from.
        repeat_below: classes with a smaller share of the set's pictures and instances are repeated, see
            `training.data.sampling.repeat_factors`; 0: none.
        lends: whether copy-paste may take things from its pictures: not where they are part of a surface, such as rust.
    """

    data: str
    split: str = "train"
    weight: float = 1.0
    labels: tuple[str, ...] | None = None
    complete: bool = False
    held_back: float = 0.0
    repeat_below: float = 0.0
    lends: bool = True

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight {self.weight} must be above 0: leave a set out that shall not be learned from")
        for name in ("held_back", "repeat_below"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must lie in [0, 1)")

    @property
    def name(self) -> str:
        """What people call it: data set and split."""
        return f"{Path(self.data).stem}_{self.split}"


@dataclass(frozen=True)
class MixedSet:
    """An opened data set of a mixture.

    Attributes:
        name: for people.
        pictures: to learn from, with the classes of the mixture.
        weight: see `DataShare`.
        labelled: (C,) bool, the classes that it labels; None: all.
        complete: see `DataShare`.
        repeats: (n,) float64, how often each picture comes in an epoch; None: once.
        lends: see `DataShare`.
        terms: see `training.data.data_config.CocoData.model_terms`.
    """

    name: str
    pictures: CocoRgbdDataset
    weight: float = 1.0
    labelled: tuple[bool, ...] | None = None
    complete: bool = True
    repeats: NDArray[np.float64] | None = None
    lends: bool = True
    terms: str | None = None


class Drawn(NamedTuple):
    """A picture that a run comes to.

    Attributes:
        origin: which set it is of.
        sample: the picture.
        rng: source of all chance in what is done with it; it follows from seed and number alone.
    """

    origin: int
    sample: Sample
    rng: np.random.Generator


class Mixture:
    """The pictures of several sets, drawn by their weights; of each set, every epoch has its own order.

    Args:
        sets: at least one, with the same classes.
        seed: of all chance.
        catch_all: class of things of which no more is said, see `training.data.vocabulary.Vocabulary`; None: none.
    """

    def __init__(self, sets: Sequence[MixedSet], seed: int, catch_all: int | None = None) -> None:
        self.sets = tuple(sets)
        self.seed = seed
        self.catch_all = catch_all
        self._draws = Draws([each.weight for each in sets], seed)
        # by set: the epoch that its last picture was of, and that epoch's order
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        """Number of pictures in all sets."""
        return sum(len(each.pictures) for each in self.sets)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C classes of the model."""
        return self.sets[0].pictures.class_names

    def draw(self, number: int) -> Drawn:
        """The picture that the run sees as its `number`-th; raises what reading it raises."""
        origin, rank = self._draws[number]
        chosen = self.sets[origin]
        repeats = np.ones(len(chosen.pictures)) if chosen.repeats is None else chosen.repeats
        epoch, position = divmod(rank, epoch_length(repeats))
        if self._orders.get(origin, (None,))[0] != epoch:
            self._orders[origin] = epoch, epoch_order(repeats, np.random.default_rng((self.seed, epoch, 0, origin)))
        rng = np.random.default_rng((self.seed, epoch, position, origin))
        return Drawn(origin, chosen.pictures[int(self._orders[origin][1][position])], rng)

    def lent(self, rng: np.random.Generator) -> Sample:
        """A picture of any set that lends things, by weight."""
        weights = np.array([each.weight * each.lends for each in self.sets])
        chosen = self.sets[int(rng.choice(len(self.sets), p=weights / weights.sum()))].pictures
        return chosen[int(rng.integers(len(chosen)))]


def mixture_of(pictures: CocoRgbdDataset | Mixture, seed: int) -> Mixture:
    """A data set alone as a mixture of one, in which all classes and all things are labelled; a mixture as it is."""
    return pictures if isinstance(pictures, Mixture) else Mixture([MixedSet("train", pictures)], seed)
