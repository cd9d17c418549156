from pathlib import Path

import pytest

from speechshap.errors import UserError
from speechshap.models import load_classifier
from speechshap.models.fetching import fetch


def test_a_name_is_looked_for_in_the_cache_before_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(source: str, is_local: bool) -> str:
        asked.append((source, is_local))
        if is_local:
            raise OSError("not in the cache")
        return "loaded"

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, name, timeout: asked.append(name))
    assert fetch("someone/model", "model", load) == "loaded"
    assert asked == [("someone/model", True), "someone/model", ("someone/model", False)]


def test_the_hub_is_not_asked_for_what_the_cache_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, is_local: bool) -> str:
        raise UserError("no trained head")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    assert fetch("someone/model", "model", lambda source, is_local: source) == "someone/model"
    with pytest.raises(UserError, match="no trained head"):
        fetch("someone/model", "model", refuse)


def test_a_folder_that_is_not_whole_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`model`: no folder \./nowhere"):
        load_classifier("./nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "wavlm"}')
    with pytest.raises(UserError, match=r"`model`: .* is not a whole checkpoint"):
        load_classifier(str(tmp_path))
