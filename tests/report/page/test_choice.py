"""Which of many utterances the page shows."""

from collections import Counter
from pathlib import Path

from helpers import make_explanation, write_part

from speechshap.report.page import write_report
from speechshap.report.page.choice import Choice
from speechshap.results.folder import ResultsFolder


def write(folder: Path, counts: dict[tuple[str, str], int], settings: int = 50) -> ResultsFolder:
    """So many utterances of each label and prediction."""
    write_part(
        folder,
        *(
            make_explanation(
                0.065, (prediction,), utterance=f"{label} {prediction} {number:03d}.wav", label=label, path="",
                settings={"n_samples": settings},
            )
            for (label, prediction), count in counts.items()
            for number in range(count)
        ),
    )  # fmt: skip
    return ResultsFolder(folder)


def groups(choice: Choice) -> Counter[str]:
    return Counter(name.rsplit(" ", 1)[0] for name in choice.places)


def test_all_utterances_are_shown_in_their_order_where_there_is_room(tmp_path: Path) -> None:
    results = write(tmp_path, {("sad", "sad"): 3, ("calm", "sad"): 2})
    write(tmp_path, {("sad", "sad"): 1}, settings=20)
    choice = Choice.of(results, 5)
    assert list(choice.places) == [
        "sad sad 000.wav",
        "sad sad 001.wav",
        "sad sad 002.wav",
        "calm sad 000.wav",
        "calm sad 001.wav",
    ]
    assert (choice.num_utterances, str(choice)) == (5, "")
    assert {name: len(parts) for name, parts in choice.places.items()}["sad sad 000.wav"] == 2


def test_of_more_utterances_each_class_and_the_wrong_ones_have_as_many(tmp_path: Path) -> None:
    results = write(tmp_path, {("sad", "sad"): 60, ("sad", "calm"): 2, ("calm", "calm"): 40, ("calm", "sad"): 10})
    choice = Choice.of(results, 20)
    assert groups(choice) == {"sad sad": 6, "sad calm": 2, "calm calm": 6, "calm sad": 6}
    assert str(choice).startswith("20 of 112 utterances are shown: a random draw")


def test_the_draw_is_the_same_whatever_the_order_and_grows_with_what_is_asked(tmp_path: Path) -> None:
    forwards = write(tmp_path / "one", {("sad", "sad"): 30, ("calm", "calm"): 30})
    backwards = write(tmp_path / "two", {("calm", "calm"): 30, ("sad", "sad"): 30})
    few, same, more = Choice.of(forwards, 10), Choice.of(backwards, 10), Choice.of(forwards, 20)
    assert few.places.keys() == same.places.keys() < more.places.keys()
    assert list(few.places) != [f"sad sad {number:03d}.wav" for number in range(5)]


def test_the_page_says_of_how_many_it_shows_some(tmp_path: Path) -> None:
    write(tmp_path, {("sad", "sad"): 4})
    (path,) = write_report(tmp_path, {}, most=2)
    page = path.read_text()
    assert "2 of 4 utterances are shown: a random draw" in page
    assert page.count('id="payload-') == 2
    (path,) = write_report(tmp_path, {})
    assert "are shown" not in path.read_text()
