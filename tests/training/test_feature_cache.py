import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import full_from
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechshap.errors import full_disk
from speechshap.training.feature_cache import FeatureCache, bytes_below, default_folder

ABOUT = {"model_type": "wavlm", "pooling": "mean"}


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    cache = FeatureCache(tmp_path / "features", ABOUT)
    cache.open()
    return cache


def features(seed: int = 0) -> Tensor:
    return torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed))


def partial_files(cache: FeatureCache) -> list[Path]:
    return list(cache.folder.rglob("*.partial"))


def test_an_entry_is_a_safetensors_file_named_by_its_digest(cache: FeatureCache) -> None:
    cache.write("5f3a", features())
    assert torch.equal(load_file(cache.folder / "5f" / "5f3a.safetensors")["features"], features())
    assert torch.equal(cache.read("5f3a").restored(), features())
    assert cache.intact(["5f3a"]) == {"5f3a": 3 * 4 * 5 * 4}


def test_a_folder_tells_what_its_entries_are_of(cache: FeatureCache) -> None:
    assert json.loads((cache.folder / "about.json").read_text()) == ABOUT


@pytest.mark.parametrize("other", [{**ABOUT, "pooling": "mean_std"}, {**ABOUT, "window": 3}, {"model_type": "wavlm"}])
def test_features_of_anything_else_lie_in_another_folder(cache: FeatureCache, other: dict[str, object]) -> None:
    cache.write("5f3a", features())
    assert FeatureCache(cache.root, other).intact(["5f3a"]) == {}
    assert list(FeatureCache(cache.root, dict(reversed(ABOUT.items()))).intact(["5f3a"])) == ["5f3a"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def with_one_bit_changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def without_checksum(path: Path) -> None:
    save_file(load_file(path), path)


def with_other_tensors(path: Path) -> None:
    save_file({"frames": features()}, path)


def of_another_recording(path: Path) -> None:
    (path.parent / "5f77.safetensors").replace(path)


@pytest.mark.parametrize(
    "damage", [cut_short, emptied, with_one_bit_changed, without_checksum, with_other_tensors, of_another_recording]
)
def test_a_damaged_entry_is_not_intact(cache: FeatureCache, damage: object) -> None:
    for number, digest in enumerate(["5f3a", "77ab", "5f77"]):
        cache.write(digest, features(number))
    assert callable(damage)
    damage(cache.path("5f3a"))
    assert list(cache.intact(["5f3a", "77ab", "missing"])) == ["77ab"]


@pytest.mark.parametrize("kept", [features(), features().double() / 3])
def test_statistics_are_kept_exactly(cache: FeatureCache, kept: Tensor) -> None:
    cache.write("5f3a", kept)
    assert torch.equal(cache.read("5f3a").restored(), kept)


def test_statistics_in_half_precision_are_given_in_single_precision(cache: FeatureCache) -> None:
    cache.write("5f3a", features().bfloat16())
    assert torch.equal(cache.read("5f3a").restored(), features().bfloat16().float())


def test_frames_are_kept_to_half_precision_of_what_they_vary(cache: FeatureCache) -> None:
    """A feature of 500 that varies by 1 would be off by up to a quarter in half precision alone."""
    frames = features() + 500
    cache.write("5f3a", frames, are_frames=True)
    error = (cache.read("5f3a").restored() - frames).abs()
    largest = (frames - frames.mean(1, keepdim=True)).abs().amax()
    assert 0 < error.max() < 2**-11 * largest + 500 * 2**-23
    assert cache.intact(["5f3a"])["5f3a"] == 2 * frames.numel() + 4 * frames[:, 0].numel()


def test_frames_that_vary_more_than_half_precision_holds_are_kept_exactly(cache: FeatureCache) -> None:
    large = features()
    large[1, 2, 3] = 300_000
    cache.write("5f3a", large, are_frames=True)
    assert torch.equal(cache.read("5f3a").restored(), large)


def test_a_disk_that_is_full_leaves_no_part_of_an_entry(cache: FeatureCache) -> None:
    with full_from(100), pytest.raises(OSError, match=r"5f3a\.safetensors") as caught:
        cache.write("5f3a", features())
    assert full_disk(caught.value) is caught.value
    assert list((cache.folder / "5f").iterdir()) == []
    cache.write("5f3a", features())
    assert list(cache.intact(["5f3a"])) == ["5f3a"]


def test_the_error_of_a_full_disk_names_the_entry(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        cache.write("5f3a", features())
    assert caught.value.filename == str(cache.path("5f3a"))
    assert partial_files(cache) == []


WRITER = """
import sys, time
from pathlib import Path
import torch
from speechshap.training.feature_cache import FeatureCache

cache = FeatureCache(Path(sys.argv[1]), {"model_type": "wavlm", "pooling": "mean"})
replace = Path.replace

def stuck(path, target):
    if target.name.startswith("0002"):
        time.sleep(600)
    return replace(path, target)

Path.replace = stuck
with cache.writing(rank=0):
    for number in range(100):
        cache.write(f"{number:04x}", torch.ones(3, 4, 5))
"""


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_no_half_entry_and_the_next_removes_its_rest(
    cache: FeatureCache,
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", WRITER, str(cache.root)], env=environment) as process:
        try:
            while not (cache.path("0001").exists() and partial_files(cache)):
                assert process.poll() is None
                time.sleep(0.01)
            with cache.writing(rank=0):
                assert len(partial_files(cache)) == 1, "they are those of a living process"
        finally:
            process.kill()
    assert list(cache.intact(["0000", "0001", "0002"])) == ["0000", "0001"]
    with cache.writing(rank=0):
        assert partial_files(cache) == []


def test_an_entry_that_two_write_is_that_of_the_later(cache: FeatureCache) -> None:
    other = FeatureCache(cache.root, ABOUT)
    with cache.writing(rank=0), other.writing(rank=0):
        cache.write("5f3a", features(0))
        other.write("5f3a", features(1))
    assert torch.equal(cache.read("5f3a").restored(), features(1))


def test_what_is_read_stays_when_the_entry_is_written_anew(cache: FeatureCache) -> None:
    cache.write("5f3a", features(0))
    read = cache.read("5f3a")
    cache.write("5f3a", features(1))
    assert torch.equal(read.restored(), features(0))


def test_a_cache_in_use_is_the_users_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "speechshap" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "speechshap" / "features"


def test_the_size_of_a_folder_is_that_of_all_its_files(cache: FeatureCache) -> None:
    for name in ("a", "deep/er/b"):
        path = cache.root / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    assert bytes_below(cache.root) == 2000 + (cache.folder / "about.json").stat().st_size
    assert bytes_below(cache.root / "none") == 0
