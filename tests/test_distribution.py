"""The wheel and the source distribution: what is in them, and that the wheel works alone."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import unmeasured

import speechshap

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[1]


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Output of a command that succeeds."""
    result = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False,
        env={**unmeasured(), **variables},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Files of the repository."""
    return [
        path
        for path in run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=PROJECT).splitlines()
        if (PROJECT / path).is_file()
    ]


@pytest.fixture(scope="module")
def distributions(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of both, built from a copy: building writes into the sources."""
    folder = tmp_path_factory.mktemp("project")
    for path in tracked:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes((PROJECT / path).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", ".", folder=folder)
    return folder / "dist"


def test_the_wheel_has_every_file_of_the_package(distributions: Path, tracked: list[str]) -> None:
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {path.removeprefix("src/") for path in tracked if path.startswith("src/")}


def test_the_source_distribution_has_every_file_of_the_project(distributions: Path, tracked: list[str]) -> None:
    """Tests and documents as well; but not what begins with a dot, which is of use in a clone alone."""
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {path for path in tracked if not path.startswith(".")} <= packed


def test_the_wheel_works_alone_from_another_folder(distributions: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site)
    run(sys.executable, *install, next(distributions.glob("*.whl")), folder=tmp_path)
    command = (sys.executable, site / "bin" / "speechshap")
    # Other packages come from the environment of the tests, speechshap from the wheel.
    alone = {"folder": elsewhere, "PYTHONPATH": str(site)}
    code = "import speechshap; print(speechshap.__file__, speechshap.__version__)"
    assert run(sys.executable, "-c", code, **alone).split() == [
        str(site / "speechshap" / "__init__.py"), speechshap.__version__,
    ]  # fmt: skip
    assert run(*command, "--version", **alone) == f"speechshap {speechshap.__version__}\n"
    config = yaml.safe_load(run(*command, "train", "fit", "--config", "demo", "--print_config", **alone))
    assert config["data"]["corpus"] == "planted"
    assert not list(elsewhere.iterdir())


def test_the_version_is_written_once(tracked: list[str]) -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert speechshap.__version__ == version
    sources = [path for path in tracked if path.startswith("src/") and path.endswith(".py")]
    assert not [path for path in sources if f'"{version}"' in (PROJECT / path).read_text()]
    assert "version" not in yaml.safe_load((PROJECT / "CITATION.cff").read_text())


def test_the_citation_names_the_papers_of_the_methods() -> None:
    citation: dict[str, Any] = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format asks for
    assert citation["cff-version"] == "1.2.0"
    cited = [(work["authors"][0]["family-names"], work["year"]) for work in citation["references"]]
    assert cited == [("Lundberg", 2017), ("Erion", 2021)]
    assert all({"type", "title", "authors"} <= set(work) for work in citation["references"])
