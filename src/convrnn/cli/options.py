"""Options that several commands share, and the choice among names."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, get_args

import typer

from convrnn.errors import InputError
from convrnn.features.normalise import NormalisePolicy

POLICIES: tuple[NormalisePolicy, ...] = get_args(NormalisePolicy)

CorpusArgument = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS",
        help="csv:PATH (columns file, speaker, labels, optional partition, start, end; separated by commas, semicolons "
        "or tabs; files relative to the CSV or absolute), emodb:PATH, aibo:PATH, agender:PATH (the original folders), "
        "or demo (synthetic).",
        show_default=False,
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A trained model, or its run directory.", show_default=False)
]
OtherPolicyOption = Annotated[
    str | None,
    typer.Option(
        "--normalise", help="Another policy than the model's: speaker, utterance, corpus.", show_default=False
    ),
]
TaskOption = Annotated[str, typer.Option("--task", help="The label column to predict.", show_default=False)]
SettingOption = Annotated[
    str,
    typer.Option(
        "--setting",
        help="emotion (section IV-A: two layers, LSTM, last four frames) or paralinguistic (IV-B: one layer, BLSTM, "
        "all frames).",
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split",
        help="partitions (the corpus's own), random, folds:K, loso (leave one speaker out) or file:PATH; always "
        "disjoint by speaker. By default partitions if the corpus has any, else random.",
        show_default=False,
    ),
]
NormaliseOption = Annotated[
    str, typer.Option("--normalise", help="Frames that features are standardised over: speaker, utterance or corpus.")
]
FeaturesOption = Annotated[
    str,
    typer.Option(
        "--features",
        help="logmel (26 log mel filter-bank energies), egemaps (25 low-level descriptors by openSMILE, which has a "
        "licence of its own) or egemaps-25ms (the same with the paper's frames of 25 ms in place of openSMILE's 20).",
    ),
]
SampleRateOption = Annotated[
    int | None,
    typer.Option(
        "--sample-rate", help="Hz to resample to; by default the lowest of the files with a label.", show_default=False
    ),
]
MaxEpochsOption = Annotated[int, typer.Option("--max-epochs", min=1, help="Epochs at most.")]
PatienceOption = Annotated[
    int, typer.Option("--patience", min=1, help="Stop after this many epochs without a better validation result.")
]
LearningRateOption = Annotated[float, typer.Option("--learning-rate", min=1e-8, help="Adam's step size.")]
SplitSeedOption = Annotated[
    int, typer.Option("--split-seed", min=0, help="Decides what is random in the split, and nothing else.")
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, help="Utterances per training step.")]
JobsOption = Annotated[
    int, typer.Option("--jobs", min=1, help="Processes; the numbers are the same for any number of them.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of extracted features and synthesised speech; by default $CONVRNN_CACHE or ~/.cache/convrnn.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def help_of(function: Callable[..., None]) -> str:
    """A command's docstring with one line per paragraph, so that it is wrapped to the reader's terminal."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def examples(*commands: str) -> str:
    """The epilog that shows how a command is used."""
    return "\n\n".join(["Examples:", *(f"[cyan]{command}[/cyan]" for command in commands)])


def choose(option: str, value: str, allowed: Iterable[str]) -> str:
    """The value, if it is allowed.

    Raises:
        InputError: naming the option and all allowed values.

    Example:
        >>> choose("--setting", "emotion", ("emotion", "paralinguistic"))
        'emotion'
    """
    names = tuple(allowed)
    if value not in names:
        raise InputError(f"{option}: unknown value {value!r}; allowed: {', '.join(names)}")
    return value


def choose_several(option: str, value: str, allowed: Iterable[str]) -> tuple[str, ...]:
    """Names separated by commas, each allowed and given once.

    Raises:
        InputError: for an unknown name, one given twice, or none at all.

    Example:
        >>> choose_several("--models", "conv, clstm", ("baseline", "conv", "clstm"))
        ('conv', 'clstm')
    """
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    known = tuple(allowed)
    if not names:
        raise InputError(f"{option}: no name given; allowed: {', '.join(known)}")
    for name in names:
        choose(option, name, known)
        if names.count(name) > 1:
            raise InputError(f"{option}: {name!r} is given {names.count(name)} times; give it once")
    return names


def choose_folder(option: str, path: Path) -> Path:
    """The path, if it is a folder or can become one.

    Raises:
        InputError: if it is a file, or lies in one.

    Example:
        >>> choose_folder("--out", Path("results")).name
        'results'
    """
    for place in (path, *path.parents):
        if place.is_dir():
            break
        if place.exists():
            what = option if place == path else f"{option} {path}:"
            raise InputError(f"{what} {place} is a file; give a folder")
    return path


def choose_policy(normalise: str) -> NormalisePolicy:
    """The normalisation policy of that name.

    Raises:
        InputError: naming all policies.
    """
    for policy in POLICIES:
        if normalise == policy:
            return policy
    raise InputError(f"--normalise: unknown value {normalise!r}; allowed: {', '.join(POLICIES)}")
