"""The readers of audio, one for each group of formats."""

from collections.abc import Sequence
from pathlib import Path

from torture.material import sound, tone
from torture.mutate import damage_bytes
from torture.target import Target


def wav(folder: Path) -> Target:
    """WAV in every encoding, RF64 and W64."""
    encodings = (
        "PCM_16",
        "PCM_24",
        "PCM_32",
        "PCM_U8",
        "FLOAT",
        "DOUBLE",
        "ULAW",
        "ALAW",
        "IMA_ADPCM",
        "MS_ADPCM",
        "GSM610",
    )
    seeds = [sound("WAV", encoding) for encoding in encodings]
    seeds += [sound(kind, "PCM_16") for kind in ("WAVEX", "RF64", "W64")]
    return _audio(folder, [*seeds, sound("WAV", "PCM_16", channels=2), sound("WAV", "FLOAT", rate=48000)])


def flac(folder: Path) -> Target:
    """FLAC."""
    return _audio(
        folder,
        [
            sound("FLAC", "PCM_16"),
            sound("FLAC", "PCM_24", channels=2),
            sound("FLAC", "PCM_S8"),
        ],
    )


def ogg_mp3(folder: Path) -> Target:
    """Ogg Vorbis, Opus and MP3."""
    return _audio(
        folder,
        [
            sound("OGG", "VORBIS"),
            sound("OGG", "OPUS"),
            sound("MP3", "MPEG_LAYER_III", rate=16000),
        ],
    )


def other_audio(folder: Path) -> Target:
    """AIFF, AU, CAF, NIST and all other formats that libsndfile writes."""
    import soundfile

    # An SD2 file has its samples in a second file, which libsndfile would write into the working folder.
    known = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "RAW", "SD2"}
    kinds = sorted(kind for kind in soundfile.available_formats() if kind not in known)
    made = {kind: soundfile.default_subtype(kind) for kind in kinds}
    return _audio(folder, [sound(kind, encoding) for kind, encoding in made.items() if encoding is not None])


def headerless(folder: Path) -> Target:
    """Samples without a header, as aGender has them."""
    samples = (32767 * tone(400, 0.05, 1)).astype("<i2").tobytes()
    return _audio(folder, [samples, sound("WAV", "PCM_16")], suffix=".raw", headerless_rate=8000)


def _audio(folder: Path, seeds: Sequence[bytes], *, suffix: str = ".wav", headerless_rate: int | None = None) -> Target:
    from convrnn.corpora.recording import listen_to
    from convrnn.features.extract import Segment, extract_features
    from convrnn.features.logmel import LogMelConfig

    path = folder / f"sound{suffix}"
    config = LogMelConfig(sample_rate=16000)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        segment = Segment(str(path), headerless_rate=headerless_rate)
        listen_to(segment, "sound")
        extract_features(segment, config)

    return Target(seeds, lambda data, random: damage_bytes(data, random, seeds), read)
