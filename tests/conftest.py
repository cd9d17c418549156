"""Corpora, checkpoints and models that the tests share; all of them small, made here, and seeded."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from families import family_config
from helpers import Browser, open_browser

from speechshap.data import make_planted_corpus
from speechshap.training import AudioDataModule, EmotionModule


def pytest_configure() -> None:
    """Take Ctrl-C even in the background, where shells have it ignored: processes that tests interrupt inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what opens a browser, and skip what needs a GPU where there is none."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests and the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def browser() -> Browser:
    """Opens a headless browser."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs a browser: chromium and chromedriver (Debian's packages chromium and chromium-driver)")
    return partial(open_browser, binary, driver)


@pytest.fixture(scope="session")
def ravdess_root() -> Path:
    """RAVDESS itself."""
    if "RAVDESS_ROOT" not in os.environ:
        pytest.skip("RAVDESS_ROOT is not set: it names the folder of RAVDESS for tests on real speech")
    return Path(os.environ["RAVDESS_ROOT"])


@pytest.fixture(scope="session")
def whisper_folder() -> Path:
    """The encoder of a Whisper model itself."""
    if "SPEECHSHAP_WHISPER" not in os.environ:
        pytest.skip("SPEECHSHAP_WHISPER is not set: it names the folder of a Whisper encoder for tests on real weights")
    return Path(os.environ["SPEECHSHAP_WHISPER"])


@pytest.fixture(scope="session")
def planted_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted-evidence corpus of four speakers with three clips of each class."""
    root = tmp_path_factory.mktemp("corpora") / "planted"
    make_planted_corpus(root, num_clips=60, num_speakers=4, duration_seconds=0.6)
    return root


@pytest.fixture
def family() -> str:
    """Family of the tiny models; a test for more than one is parametrised over it."""
    return "wavlm"


@pytest.fixture(scope="session")
def tiny_checkpoints(planted_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint of a tiny model of a family after two training steps; made when it is first asked for."""

    @cache
    def train(family: str) -> Path:
        folder = tmp_path_factory.mktemp("runs")
        pl.seed_everything(0)
        data = AudioDataModule(root=str(planted_root), corpus="planted", batch_size=8)
        config = family_config(family, do_normalize=family != "whisper")
        module = EmotionModule(data.classes, backbone_config=config, freeze="none")
        trainer = pl.Trainer(
            max_steps=2, limit_val_batches=0, logger=False, accelerator="cpu", enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(module, data)
        path = folder / "checkpoints" / "best.ckpt"
        trainer.save_checkpoint(path)
        return path

    return train


@pytest.fixture
def tiny_checkpoint(tiny_checkpoints: Callable[[str], Path], family: str) -> Path:
    """A checkpoint of a tiny model after two training steps."""
    return tiny_checkpoints(family)


@pytest.fixture
def tiny_module(family: str) -> EmotionModule:
    """A tiny classifier of three classes, random but always the same."""
    torch.manual_seed(0)
    return EmotionModule(["angry", "happy", "sad"], backbone_config=family_config(family)).eval()


@pytest.fixture
def run_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Run a notebook in place, in a kernel of this interpreter, whatever else the machine calls python3."""
    from ipykernel.kernelspec import write_kernel_spec
    from nbclient import NotebookClient

    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    folder = tmp_path / "cwd"
    folder.mkdir()
    resources = {"metadata": {"path": str(folder)}}
    return lambda notebook: NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
