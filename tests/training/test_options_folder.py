from pathlib import Path
from threading import Thread

from speechshap.training.options_folder import choose_folder


def test_processes_that_start_at_once_take_the_same_folder(tmp_path: Path) -> None:
    taken: list[Path] = []
    threads = [Thread(target=lambda: taken.append(choose_folder(tmp_path, "sweep", "a: 3"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [tmp_path / "sweep_0"] * 8
