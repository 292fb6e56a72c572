"""What a run learns from and validates on: the data of its configuration, opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.data.data_config import model_terms_of, scene_of_pictures
from training.data.dataset import CocoRgbdDataset, open_split
from training.data.held_back import held_back
from training.data.mixture import MixedSet, Mixture
from training.data.sampling import repeat_factors
from training.data.vocabulary import Vocabulary, in_vocabulary, load_vocabulary
from training.learning.train_config import TrainConfig


class TrainingData(NamedTuple):
    """The pictures of a run.

    Attributes:
        train: to learn from.
        validation: by name, to validate on.
    """

    train: Mixture
    validation: dict[str, CocoRgbdDataset]


def open_training_data(config: TrainConfig) -> TrainingData:
    """Open the data of a run: one set with its splits "train" and "val", or a list of sets.

    Of a list the model gets those classes of the vocabulary that some set has or labels, and validation pictures are
    what the sets hold back of what is trained on.

    Raises:
        FileNotFoundError: a YAML or a COCO file that is missing.
        ValueError: what `open_split` refuses; classes that the vocabulary does not have; or no set that holds back
            pictures to validate on.
    """
    if isinstance(config.data, str):
        validation = open_split(config.data, "val", limit=config.n_validation)
        alone = MixedSet("train", open_split(config.data, "train"), terms=model_terms_of(Path(config.data)))
        return TrainingData(Mixture([alone], config.seed), {"val": validation})
    names = [share.name for share in config.data]
    opened = [open_split(share.data, share.split) for share in config.data]
    vocabulary = _of_all(opened) if config.classes is None else load_vocabulary(config.classes)
    meant = []
    for name, share, pictures in zip(names, config.data, opened, strict=True):
        try:
            meant.append({vocabulary.class_of(each) for each in pictures.class_names})
            labelled = {vocabulary.class_of(each) for each in share.labels or ()}
        except ValueError as error:
            raise ValueError(f"{config.classes or 'data'}: {name}: {error}") from error
        meant[-1] |= labelled
    class_names = [each for each in vocabulary.classes if any(each in own for own in meant)]
    sets, validation_sets = [], {}
    for name, share, pictures, own in zip(names, config.data, opened, meant, strict=True):
        joined = in_vocabulary(pictures, vocabulary, class_names)
        slice_ = held_back(joined, share.held_back, scene_of_pictures(Path(share.data)))
        learned = joined.part(sorted(set(range(len(joined))).difference(slice_)))
        labels = own if share.labels is None else {vocabulary.class_of(each) for each in share.labels}
        sets.append(
            MixedSet(
                name,
                learned,
                share.weight,
                labelled=tuple(each in labels for each in class_names),
                complete=share.complete,
                repeats=repeat_factors(learned, share.repeat_below) if share.repeat_below else None,
                lends=share.lends,
                terms=model_terms_of(Path(share.data)),
            )
        )
        if slice_:
            spread = np.linspace(0, len(slice_) - 1, min(config.n_validation, len(slice_))).round().astype(int)
            validation_sets[name] = joined.part([slice_[i] for i in spread])
    if not validation_sets:
        raise ValueError(
            "data: held_back is 0 in every set: give it to one at least, such as 0.05, so that there are pictures to "
            "validate on"
        )
    catch_all = class_names.index(vocabulary.catch_all) if vocabulary.catch_all in class_names else None
    return TrainingData(Mixture(sets, config.seed, catch_all), validation_sets)


def _of_all(opened: Sequence[CocoRgbdDataset]) -> Vocabulary:
    """All classes that the sets have, by their own names."""
    return Vocabulary(tuple(dict.fromkeys(name for pictures in opened for name in pictures.class_names)))
