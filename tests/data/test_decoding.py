"""Formats of phones, recorders and browsers, against the WAV file that they were encoded from."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers import write_sound

from speechshap.data import AudioFileError, load_audio
from speechshap.data.audio import find_audio, inspect_audio
from speechshap.data.catalogue import Catalogue
from speechshap.data.decoding import AUDIO_SUFFIXES


def chirp(rate: int, seconds: float = 2.0) -> np.ndarray:
    """A rising tone ``(time,)``, of which no part is like another."""
    time = np.arange(round(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * time + 200 * time**2))).astype(np.float32)


def write_media(
    path: Path,
    codec: str | None,
    rate: int = 44100,
    channels: int = 1,
    start: int = 0,
    video: bool = False,
    **options: str,
) -> Path:
    """Encode a chirp with FFmpeg; ``start`` is in samples, ``codec`` None leaves the sound track out."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options) as container:
        picture: Any = container.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p") if video else None
        sound: Any = codec and container.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo"}[channels])
        if sound:
            sound.bit_rate = 12200 if "amr" in codec else 128000
        for _ in range(25 if picture else 0):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        if sound:
            samples = np.stack([chirp(rate)] * channels)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=sound.layout.name)
            frame.sample_rate, frame.pts = rate, start
            container.mux(sound.encode(frame))
        for stream in (picture, sound):
            if stream:
                container.mux(stream.encode(None))
    return path


def delay_and_correlation(found: np.ndarray, expected: np.ndarray) -> tuple[int, float]:
    """By how many samples a sound comes late, and how like the expected one it then is."""
    length = len(found) + len(expected)
    product = np.fft.irfft(np.fft.rfft(found, length) * np.fft.rfft(expected, length).conj(), length)
    delay = int(product.argmax())
    delay -= length if delay > len(found) else 0
    late, early = max(0, delay), max(0, -delay)
    overlap = min(len(found) - late, len(expected) - early)
    one, other = found[late : late + overlap], expected[early : early + overlap]
    return delay, float(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("aiff", {"subtype": "PCM_16"}),
        ("aif", {"subtype": "PCM_24", "format": "AIFF"}),
        ("caf", {"subtype": "PCM_16"}),
        ("caf", {"subtype": "ALAC_16"}),
        ("w64", {"subtype": "PCM_16"}),
        ("rf64", {"subtype": "PCM_16"}),
        ("wav", {"subtype": "PCM_16", "format": "RF64"}),
        ("au", {"subtype": "PCM_16"}),
    ],
)
def test_a_lossless_format_has_the_samples_of_the_wav_file(tmp_path: Path, suffix: str, options: dict) -> None:
    sound = np.stack([chirp(44100), 0.5 * chirp(44100)], axis=1)
    soundfile.write(tmp_path / "a.wav", sound, 44100, subtype=options["subtype"].replace("ALAC", "PCM"))
    path = tmp_path / f"b.{suffix}"
    soundfile.write(path, sound, 44100, **options)
    assert np.array_equal(load_audio(path), load_audio(tmp_path / "a.wav"))
    assert inspect_audio(path) == inspect_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "options", "delay"),
    [
        ("a.m4a", {"codec": "aac"}, 20),
        ("a.m4a", {"codec": "aac", "channels": 2, "rate": 48000}, 20),
        ("a.m4a", {"codec": "alac"}, 0),
        ("a.aac", {"codec": "aac"}, 1200),  # this format cannot say how much the encoder puts before the sound
        ("a.mp4", {"codec": "aac", "video": True}, 20),
        ("a.mov", {"codec": "aac", "video": True}, 20),
        ("a.webm", {"codec": "libopus", "rate": 48000}, 20),
        ("a.mkv", {"codec": "aac"}, 20),
        ("a.3gp", {"codec": "libopencore_amrnb", "rate": 8000}, 200),
        ("a.amr", {"codec": "libopencore_amrnb", "rate": 8000}, 200),
        ("a.wma", {"codec": "wmav2"}, 1200),
    ],
)
def test_what_phones_and_browsers_record_sounds_like_the_original(
    tmp_path: Path, name: str, options: dict, delay: int
) -> None:
    found, expected = load_audio(write_media(tmp_path / name, **options)), chirp(16000)
    assert found.dtype == np.float32
    assert abs(len(found) - len(expected)) <= 1600
    late, correlation = delay_and_correlation(found, expected)
    assert abs(late) <= delay
    assert correlation > (0.99 if "amr" not in options["codec"] else 0.9)
    facts = inspect_audio(tmp_path / name)
    assert facts.seconds == pytest.approx(len(found) / 16000, abs=1e-4)


def test_opus_in_ogg_sounds_like_the_original(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.opus", chirp(48000), 48000, format="OGG", subtype="OPUS")
    late, correlation = delay_and_correlation(load_audio(tmp_path / "a.opus"), chirp(16000))
    assert abs(late) <= 20
    assert correlation > 0.99


def test_a_sound_track_that_starts_late_starts_at_its_first_sample(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", "aac", video=True, start=22050)
    late, correlation = delay_and_correlation(load_audio(path), chirp(16000))
    assert 0 <= late <= 400  # what the encoder puts before the sound
    assert correlation > 0.99


def test_core_audio_files_of_codecs_that_libsndfile_lacks_are_read(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.caf", "adpcm_ima_qt")
    with pytest.raises(soundfile.SoundFileError):
        soundfile.info(path)
    assert delay_and_correlation(load_audio(path), chirp(16000))[1] > 0.99


@pytest.mark.parametrize("share", [0.02, 0.5, 0.8])
@pytest.mark.parametrize(
    "name", ["a.aiff", "a.caf", "a.w64", "a.rf64", "a.au", "a.opus", "a.m4a", "front.m4a", "a.mp4", "a.webm", "a.mkv"]
)
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    match path.suffix:
        case ".opus":
            soundfile.write(path, chirp(48000), 48000, format="OGG", subtype="OPUS")
        case ".webm":
            write_media(path, "libopus", 48000)
        case ".m4a" | ".mp4" | ".mkv":
            write_media(path, "aac", video=name == "a.mp4", **{"movflags": "faststart"} if "front" in name else {})
        case _:
            write_sound(path, 2.0)
    load_audio(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(AudioFileError, match=r"truncated|cannot be decoded as sound") as error:
        load_audio(path)
    assert len(str(error.value).splitlines()) == 1


def test_a_video_without_a_sound_track_is_told(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", None, video=True)
    with pytest.raises(AudioFileError, match="has no sound track"):
        load_audio(path)


def test_a_protected_or_unknown_codec_is_told(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", "alac")
    path.write_bytes(path.read_bytes().replace(b"alac", b"zzzz"))
    with pytest.raises(AudioFileError, match="protected, or of a kind that FFmpeg does not know"):
        load_audio(path)


@pytest.mark.parametrize(
    "text", ["these are words, not sound", "#EXTM3U\n#EXTINF:2,\na.wav\n", "ffconcat version 1.0\nfile a.wav"]
)
def test_a_text_is_no_sound_and_no_playlist_whatever_its_name_says(tmp_path: Path, text: str) -> None:
    pytest.importorskip("av")
    write_sound(tmp_path / "a.wav")
    (tmp_path / "a.m4a").write_text(text)
    with pytest.raises(AudioFileError, match="cannot be decoded as sound"):
        load_audio(tmp_path / "a.m4a")


def test_raw_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioFileError, match="raw samples without a header"):
        load_audio(tmp_path / "a.raw")


def test_without_its_decoder_a_file_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(bytes(100))
    with pytest.raises(AudioFileError, match=r"a.m4a: needs the decoder of speechshap\[media\]: pip install 'speech"):
        load_audio(tmp_path / "a.m4a")


def test_a_folder_of_all_formats_is_found_and_what_is_no_sound_is_listed(tmp_path: Path) -> None:
    write_media(tmp_path / "a.m4a", "aac")
    write_media(tmp_path / "mute.MP4", None, video=True)
    write_sound(tmp_path / "b.AIFF", format="AIFF")
    for hidden in ("._a.m4a", ".cache/c.m4a", "__MACOSX/._b.m4a"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_bytes(b"\0\5\26\7")
    assert [path.name for path in find_audio(tmp_path)] == ["a.m4a", "b.AIFF", "mute.MP4"]
    catalogue = Catalogue(files=[tmp_path])
    catalogue.report_to(tmp_path)
    usable = catalogue.utterances_to_explain("test", None)
    assert [utterance.path.name for utterance in usable] == ["a.m4a", "b.AIFF"]
    assert "mute.MP4,has no sound track" in (tmp_path / "skipped.csv").read_text()


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_known_suffix_is_found(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix.upper()}").touch()
    assert len(find_audio(tmp_path)) == 1


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 44100), ("flac", 16000), ("mp3", 48000), ("ogg", 22050)])
def test_decoding_in_blocks_changes_no_sample(
    tmp_path: Path, suffix: str, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sound(tmp_path / f"a.{suffix}", 3.0, rate)
    whole, facts = load_audio(path), inspect_audio(path)
    monkeypatch.setattr("speechshap.data.decoding._BLOCK", 9999)
    assert np.array_equal(load_audio(path), whole)
    assert inspect_audio(path) == facts


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_resampling_in_blocks_is_that_of_librosa(tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import librosa

    monkeypatch.setattr("speechshap.data.decoding._BLOCK", 9999)
    path = write_sound(tmp_path / "a.wav", 1.2345, rate, subtype="FLOAT")
    samples, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(load_audio(path), librosa.resample(samples, orig_sr=rate, target_sr=16000))
