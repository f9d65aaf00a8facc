"""Audio formats that libsndfile does not read, recognised by their first bytes, and how to convert them."""

from pathlib import Path, PurePath

_SIGNATURES = (
    (4, b"ftyp", "MPEG-4 audio (M4A, MP4, 3GP)"),
    (0, bytes.fromhex("3026b2758e66cf11"), "Windows Media audio (WMA)"),
    (0, bytes.fromhex("1a45dfa3"), "WebM or Matroska audio"),
    (0, b"#!AMR", "AMR audio"),
    (0, b"FLV", "Flash video"),
    (0, b"MAC ", "Monkey's Audio (APE)"),
    (0, b"wvpk", "WavPack audio"),
    (0, b".RMF", "RealAudio"),
    (0, b"\xff\xf1", "AAC audio"),
    (0, b"\xff\xf9", "AAC audio"),
    (0, b"ADIF", "AAC audio"),
)


def foreign_format(file: Path | str) -> str | None:
    """The format of an audio file that libsndfile does not read.

    Args:
        file: A file that could not be opened as audio.

    Returns:
        A name such as ``"WebM or Matroska audio"``; None if the format is unknown or the file cannot be read.
    """
    if not Path(file).is_file():
        # Opening a pipe would block.
        return None
    try:
        with Path(file).open("rb") as stream:
            head = stream.read(16)
    except OSError:
        return None
    return next((name for place, mark, name in _SIGNATURES if head[place:].startswith(mark)), None)


def how_to_convert(file: Path | str) -> str:
    """Advice on converting a file of such a format.

    Example:
        >>> how_to_convert("calls/a.m4a")
        'convert it with ffmpeg, for example: ffmpeg -i a.m4a a.wav'
    """
    name = PurePath(file)
    # ffmpeg cannot overwrite its input.
    wav = name.with_suffix(".wav") if name.suffix != ".wav" else name.with_stem(f"{name.stem}-converted")
    return f"convert it with ffmpeg, for example: ffmpeg -i {name.name} {wav.name}"
