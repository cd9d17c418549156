import errno
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from speechshap.training import WholeCheckpointIO


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"state_dict": {"a": torch.ones(2)}}, path)
    assert torch.equal(WholeCheckpointIO().load_checkpoint(path)["state_dict"]["a"], torch.ones(2))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_full_disk_names_the_path_and_leaves_the_former_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"epoch": 1}, path)
    former = path.read_bytes()

    class FullDisk(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *args, **options: FullDisk())
    with pytest.raises(OSError, match="No space left") as raised:
        WholeCheckpointIO().save_checkpoint({"state_dict": {"a": torch.ones(1000)}}, path)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    monkeypatch.undo()
    assert path.read_bytes() == former
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Path("a")}, tmp_path / "other.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        WholeCheckpointIO().load_checkpoint(tmp_path / "other.ckpt")
