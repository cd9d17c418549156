"""Exported folders: what is read back is what was written, whoever wrote it can run no code, and nothing is lost."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, as_after_training, family_config
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig

from speechshap.errors import UserError
from speechshap.models import EmotionClassifier, load_backbone, load_classifier
from speechshap.models.exported import ExportedConfig, write_exported
from speechshap.models.standardization import moments_of

CLASSES = ["calm", "angry", "sad"]
USUAL: dict[str, Any] = {
    "padding": "masked", "hidden_layer": None, "window_seconds": 20.0, "standardize": False, "pooling": "mean",
    "num_queries": 1, "convolutions": 0, "dropout": 0.1, "hidden_units": 8, "head": None,
}  # fmt: skip


class OwnHead(nn.Linear):
    """A head that no folder can name."""


def described(family: str = "wavlm", **options: Any) -> ExportedConfig:
    return ExportedConfig(CLASSES, family_config(family, do_normalize=family != "whisper"), **{**USUAL, **options})


def make(config: ExportedConfig) -> EmotionClassifier:
    """A classifier all of whose parts have random numbers."""
    torch.manual_seed(0)
    classifier = as_after_training(config.build(OwnHead(32, 3) if config.has_own_head else None))
    if classifier.standardization is not None:
        classifier.standardization.fit(moments_of(torch.randn(*classifier.standardization.mean.shape[:1], 5, 1) + 2))
    return classifier


def logits(classifier: Any) -> torch.Tensor:
    waveforms = torch.randn(2, 24_000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return classifier(waveforms, torch.tensor([24_000, 9_000]))  # type: ignore[no-any-return]


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Path]:
    def write(**options: Any) -> Path:
        config = described(**options)
        write_exported(tmp_path / "export", config, make(config), "a card", overwrite=True)
        return tmp_path / "export"

    return write


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    "options",
    [
        *({"family": family} for family in FAMILIES),
        {"hidden_layer": 1},
        {"standardize": True},
        {"hidden_layer": 0, "standardize": True, "pooling": "mean_std"},
        {"pooling": "attentive", "num_queries": 2, "standardize": True},
        {"convolutions": 2, "dropout": 0.3, "pooling": "mean_std"},
        {"hidden_units": 0, "window_seconds": 1.0},
        {"family": "whisper", "padding": "published"},
        {"padding": "published"},
        {"head": {"class_path": "torch.nn.modules.linear.Linear", "init_args": {"in_features": 32, "out_features": 3}}},
    ],
    ids=str,
)
def test_what_is_read_back_gives_the_same_logits(export: Callable[..., Path], options: dict[str, Any]) -> None:
    folder = export(**options)
    written, read = make(described(**options)), load_classifier(str(folder))
    assert torch.equal(logits(read), logits(written))
    assert read.identity == written.identity
    assert read.classes == ("calm", "angry", "sad")
    assert not any(module.training for module in read.modules())  # type: ignore[attr-defined]
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert set(load_file(folder / "model.safetensors")) == set(written.state_dict())


def test_a_name_of_the_hub_is_read_from_its_cache_without_a_request(
    export: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--anna--emotions"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    export().rename(repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert torch.equal(logits(load_classifier("anna/emotions")), logits(make(described())))


def test_transformers_does_not_take_it_for_its_own(export: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="speechshap"):
        AutoConfig.from_pretrained(export())


OWN = {"class_path": "test_exported_evil.Head", "init_args": {"in_features": 32, "out_features": 3}}


def test_a_head_that_the_folder_names_is_not_imported(
    export: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_exported_evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = export(head=OWN)
    with pytest.raises(UserError, match=r"has a head of the class test_exported_evil\.Head, .* classifier=Head\("):
        load_classifier(str(folder))
    assert "test_exported_evil" not in sys.modules


def test_a_head_that_is_given_in_python_gets_the_weights_of_the_folder(export: Callable[..., Path]) -> None:
    folder = export(head=OWN)
    head = OwnHead(32, 3)
    read = load_classifier(str(folder), classifier=head)
    expected = make(described(head=OWN))
    assert torch.equal(logits(read), logits(expected))
    assert torch.equal(head.weight, expected.head.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speechshap_format": 2}, r"exported in format 2, and speechshap \S+ reads up to 1; update it"),
        ({"speechshap_format": "new"}, "exported in format new"),
        ({"classes": "calm"}, "damaged"),
        ({"head": {"class_path": "torch.nn.Linear"}}, "damaged"),
        ({"head": {"class_path": "torch.nn.functional", "init_args": {}}}, "there is no module torch.nn.functional"),
        ({"head": {"class_path": "torch.nn.os.system", "init_args": {}}}, "there is no module torch.nn.os.system"),
        (
            {"head": {"class_path": "torch.nn.Sequential", "init_args": {"a": {"class_path": "b"}}}},
            "takes more than numbers and texts",
        ),
        ({"classes": ["calm", "angry"]}, "cannot be rebuilt"),
        ({"hidden_layer": "last"}, "cannot be rebuilt"),
        ({"pooling": "max"}, "cannot be rebuilt"),
        ({"backbone_config": {**family_config("wavlm"), "attn_implementation": "owner/kernel"}}, "has no field attn_"),
    ],
)
def test_a_folder_that_anyone_may_have_changed_is_refused_in_a_line(
    export: Callable[..., Path], fields: dict[str, Any], message: str
) -> None:
    folder = export()
    change(folder, **fields)
    with pytest.raises(UserError, match=message) as told:
        load_classifier(str(folder))
    assert "\n" not in str(told.value)
    assert str(folder) in str(told.value)


def test_a_hidden_field_names_no_code_that_transformers_would_fetch(export: Callable[..., Path]) -> None:
    folder = export()
    change(folder, backbone_config={**family_config("wavlm", do_normalize=True), "_attn_implementation": "owner/code"})
    assert torch.equal(logits(load_classifier(str(folder))), logits(make(described())))


@pytest.mark.parametrize("left", ["nothing", "half"])
def test_weights_that_are_missing_or_cut_short_are_told(export: Callable[..., Path], left: str) -> None:
    path = export() / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if left == "half":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"is not a whole checkpoint|cannot be rebuilt"):
        load_classifier(str(path.parent))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": OwnHead(32, 3)}, "has a trained head; leave out `classifier`"),
        ({"hidden_layer": 1}, "`hidden_layer` is for a head of your own"),
    ],
)
def test_what_a_trained_model_has_itself_cannot_be_given(
    export: Callable[..., Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_classifier(str(export()), **options)


def test_it_is_no_backbone_to_train_on(export: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="`backbone`"):
        load_backbone(str(export()))


def test_nothing_that_is_there_is_replaced_unasked(export: Callable[..., Path]) -> None:
    folder, config = export(), described()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"is an export already; replace it with `overwrite`"):
        write_exported(folder, config, make(config), "another card")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"has other files \(notes.txt\)"):
        write_exported(folder, config, make(config), "another card", overwrite=True)
    (folder / "notes.txt").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_exported(folder, config, make(config), "another card", overwrite=True)
    assert (folder / "README.md").read_text() == "another card"


@pytest.mark.parametrize("content", ['{"model_type": "wavlm"}', "[1]", "no json"])
def test_a_model_of_another_program_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    config = described()
    with pytest.raises(UserError, match="is something else, and nothing of it is replaced"):
        write_exported(tmp_path, config, make(config), "a card", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_model_with_more_than_its_configuration_tells_is_not_exported(tmp_path: Path) -> None:
    config = described()
    classifier = make(config)
    classifier.extra = nn.Linear(2, 2)
    with pytest.raises(UserError, match="cannot be rebuilt"):
        write_exported(tmp_path / "export", config, classifier, "a card")
    other = make(described())
    other.head.register_forward_hook(lambda module, inputs, output: output + 1)
    with pytest.raises(UserError, match="would decide otherwise"):
        write_exported(tmp_path / "export", config, other, "a card")
    assert not list(tmp_path.iterdir())
