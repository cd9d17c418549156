from pathlib import Path

import pytest
from matplotlib.figure import Figure

from speechshap.report.saving import save_figure


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("of/b.c.svg", b"<?xml")])
def test_the_suffix_says_as_what(tmp_path: Path, name: str, start: bytes) -> None:
    save_figure(Figure(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_picture_that_cannot_be_written_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_text("the former")

    def half(figure: Figure, partial: Path, **_: object) -> None:
        partial.write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.png'"):
        save_figure(Figure(), path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["the former"]
