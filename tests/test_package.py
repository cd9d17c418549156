import ast
import subprocess
import sys
from pathlib import Path

import pytest

import speechshap

OTHER_NAMES = {"LibrosaAudioDataset": "AudioDataset", "WavLMGradientSHAPDemo": "GradientSHAPDemo"}


def test_public_names_are_there() -> None:
    for name in speechshap.__all__:
        assert getattr(speechshap, name).__name__.removeprefix("speechshap.") in {name, OTHER_NAMES.get(name)}
        assert name in dir(speechshap)
    for name, usual in OTHER_NAMES.items():
        assert getattr(speechshap, name) is getattr(speechshap, usual)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        speechshap.nothing  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, speechshap; sys.exit(bool({'torch', 'librosa', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_type_checkers_and_programs_find_the_same_names() -> None:
    (block,) = (node for node in ast.parse(Path(speechshap.__file__).read_text()).body if isinstance(node, ast.If))
    told = {(node.names[0].asname, node.module) for node in block.body if isinstance(node, ast.ImportFrom)}
    assert told == set(speechshap._HOMES.items())


@pytest.mark.slow
def test_the_command_line_adds_little_to_what_lightning_imports() -> None:
    """What is slow to import is imported when it is used, so that ``--help`` does not wait for it."""
    code = (
        "import sys, pytorch_lightning.cli; before = set(sys.modules); import speechshap.cli;"
        "new = set(sys.modules) - before;"
        "print(sorted({'transformers', 'librosa', 'matplotlib', 'tensorboard', 'soundfile', 'pyarrow.parquet'} & new))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
