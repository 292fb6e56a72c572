"""Many dives of `spda-sam survey`: each in a folder of its own, on one machine or several, and one page over all.

Past one process dask.distributed hands the dives out: it is pure Python of 2 MB (Ray: 79 MB of binaries for each
Python and machine), it needs no service to begin with, and it gives a dive whose worker died to another one, where the
journal of the dive lets it go on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spda_sam_core.cli.one_dive import JOURNAL, survey_one
from spda_sam_core.runtimes.runtime import BackendError
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.survey.facts import Facts


def folders_of(sources: Sequence[Path]) -> list[str]:
    """A name for the folder of each dive, that of its input; those that are alike get numbers."""
    names: list[str] = []
    for source in sources:
        name = source.resolve().name if source.is_dir() else source.stem
        alike = next(k for k in range(1, len(sources) + 1) if (name if k == 1 else f"{name}-{k}") not in names)
        names.append(name if alike == 1 else f"{name}-{alike}")
    return names


def survey_many(sources: Sequence[Path], model: SpdaSam, options: argparse.Namespace) -> list[Facts]:
    """Survey each dive; one that fails is no end of the others.

    Args:
        sources: the dives.
        model: for what is done in this process.
        options: those of `spda-sam survey`.

    Returns:
        What was found, in the order of `sources`.

    Raises:
        FileExistsError: one of them was surveyed before, and --resume was not asked for.
        ImportError: workers are asked for, and there is no distributed.
    """
    folders = folders_of(sources)
    there = [name for name in folders if (options.out / name / JOURNAL).exists()]
    if there and not options.resume:
        raise FileExistsError(
            f"{options.out} holds a survey of {', '.join(there)}: --resume goes on with it, or choose another --out"
        )
    if options.workers == 1 and options.scheduler is None:
        return [_survey(source, name, model, options) for source, name in zip(sources, folders, strict=True)]
    if find_spec("distributed") is None:
        raise ImportError("--workers and --scheduler need the package distributed: pip install 'distributed>=2024.1'")
    found: dict[str, Facts] = {}
    with _client(options) as client, tqdm(total=len(sources), desc="looking", unit="dive") as bar:
        from distributed import as_completed

        # paths may mean something else where a worker runs
        jobs = {
            client.submit(survey_elsewhere, source.resolve(), name, _absolute(options), pure=False): name
            for source, name in zip(sources, folders, strict=True)
        }
        for job in as_completed(jobs):
            found[jobs[job]] = job.result()
            bar.update()
    return [found[name] for name in folders]


def survey_elsewhere(source: Path, folder: str, options: argparse.Namespace) -> Facts:
    """Survey one dive in a worker, which loads the network once."""
    model = _model(options.checkpoint, options.backend, options.device)
    return _survey(source, folder, model, options, quiet=True)


def _survey(source: Path, folder: str, model: SpdaSam, options: argparse.Namespace, *, quiet: bool = False) -> Facts:
    try:
        # it may have been begun before, by a worker that died
        facts = survey_one(source, options.out / folder, model, options, resume=True, quiet=quiet)
    except (OSError, ValueError, ImportError, BackendError) as error:
        return Facts(source.name, f"{folder}/", failed=f"could not be surveyed: {error}")
    facts.folder = f"{folder}/"
    return facts


@lru_cache(maxsize=1)
def _model(checkpoint: str, backend: str, device: str) -> SpdaSam:
    return SpdaSam.from_pretrained(checkpoint, backend=backend, device=device)


@contextmanager
def _client(options: argparse.Namespace) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if options.scheduler is not None:
        with Client(options.scheduler) as client:
            yield client
        return
    # one dive a worker at a time; a limit on memory would end a worker in the middle of its dive
    with (
        LocalCluster(
            n_workers=options.workers, threads_per_worker=1, memory_limit=None, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _absolute(options: argparse.Namespace) -> argparse.Namespace:
    paths = {k: v.resolve() for k, v in vars(options).items() if isinstance(v, Path)}
    return argparse.Namespace(**{**vars(options), **paths})
