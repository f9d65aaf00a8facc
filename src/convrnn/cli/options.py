"""Options that several commands share, and the choice among names."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from convrnn.errors import InputError, one_sentence
from convrnn.features.normalise import NormalisePolicy

POLICIES: tuple[NormalisePolicy, ...] = get_args(NormalisePolicy)

MOST_SEED = 2**63 - 1
"""The largest seed, as in a run's spec."""

MOST_EPOCHS = 10**6
"""Likewise."""

MOST_RUNS = 10_000
"""Seeds or folds at most: each is a training of its own for every model."""

MOST_JOBS = 256
"""Processes at most."""


def number(option: str, about: str, least: float, most: float, why: str = "", *, show_default: bool = True) -> Any:  # noqa: ANN401 - typer.Option says so too
    """An option with a number from ``least`` to ``most``; anything else, NaN too, is refused in one sentence.

    Typer's own ``min`` and ``max`` tell neither what was found nor why.

    Args:
        option: its name.
        about: what it is for.
        least: the smallest number that is allowed.
        most: the largest.
        why: why no other is, where that is not plain.
        show_default: whether the help shows the default.
    """

    def check(value: float | None) -> float | None:
        if value is not None and not least <= value <= most:
            found = f"{value:.6g}" if isinstance(value, float) else one_sentence(str(value), 40)
            reason = f", {why}" if why else ""
            raise InputError(f"{option} {found}: must be a number from {least} to {most}{reason}")
        return value

    return typer.Option(option, callback=check, help=about, show_default=show_default)


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
    number(
        "--sample-rate",
        "Hz to resample to; by default the lowest of the files with a label, at most 16000.",
        *(1000, 768_000),
        "as audio files have it",
        show_default=False,
    ),
]
SameSpeakerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--same-speaker",
        metavar="A=B",
        help="Two names of one person, who is then called A; repeat it for others. A column `person` does the same.",
        show_default=False,
    ),
]
DropDuplicatesOption = Annotated[
    bool, typer.Option("--drop-duplicates", help="Leave out copies of a recording that is listed before them.")
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="KIND",
        help="Go on in spite of this kind of error that `convrnn check` finds, such as truncated; the results say so. "
        "Repeat it for others.",
        show_default=False,
    ),
]
MaxEpochsOption = Annotated[int, number("--max-epochs", "Epochs at most.", 1, MOST_EPOCHS)]
PatienceOption = Annotated[
    int, number("--patience", "Stop after this many epochs without a better validation result.", 1, MOST_EPOCHS)
]
LearningRateOption = Annotated[
    float,
    number(
        *("--learning-rate", "Adam's step size.", 1e-8, 1.0),
        "since a step moves every weight by about as much, and weights begin below 1",
    ),
]
SeedOption = Annotated[
    int, number("--seed", "Varies initialisation, balancing and order.", 0, MOST_SEED, "as PyTorch takes it")
]
SeedsOption = Annotated[int, number("--seeds", "Number of seeds: 0, 1, … The split stays.", 1, MOST_RUNS)]
SplitSeedOption = Annotated[
    int, number("--split-seed", "Decides what is random in the split, and nothing else.", 0, MOST_SEED)
]
FoldOption = Annotated[
    int | None, number("--fold", "Which of several folds, from 1.", 1, MOST_RUNS, show_default=False)
]
BatchSizeOption = Annotated[int, number("--batch-size", "Utterances per training step.", 1, 2**16)]
JobsOption = Annotated[
    int,
    number(
        *("--jobs", "Processes; the numbers are the same for any number of them.", 1, MOST_JOBS),
        "since each is a process with PyTorch in it, of 300 MB and more",
    ),
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


def pairs_of_names(option: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs in ``A=B``.

    Raises:
        InputError: for anything else.

    Example:
        >>> pairs_of_names("--same-speaker", ["46=53"])
        [('46', '53')]
    """
    pairs = []
    for value in values:
        names = tuple(name.strip() for name in value.split("="))
        if len(names) != 2 or not all(names) or names[0] == names[1]:
            raise InputError(f"{option} {value}: two different names are expected, as in {option} 46=53")
        pairs.append((names[0], names[1]))
    return pairs


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
