import pytest

from speechshap.report.draw import Draw

NAMES = [f"{number}.wav" for number in range(50)]


def drawn(names: list[str], most: int = 10) -> Draw[str]:
    draw: Draw[str] = Draw(most)
    for name in names:
        draw.add(name, name.upper())
    return draw


def test_a_draw_is_the_same_in_any_order_and_a_smaller_one_is_part_of_it() -> None:
    found = drawn(NAMES).smallest(10)
    assert found == drawn(NAMES[::-1]).smallest(10)
    assert found[:4] == drawn(NAMES, 4).smallest(4) == drawn(NAMES).smallest(4)
    assert all(thing == name.upper() for name, thing in found)
    assert [name for name, _ in found] != NAMES[:10]


def test_what_came_in_portions_is_drawn_as_a_whole() -> None:
    one, other = drawn(NAMES[::2]), drawn(NAMES[1::2])
    one.merge(other)
    assert one.smallest(10) == drawn(NAMES).smallest(10)


def test_a_name_is_there_once_and_all_are_where_there_is_room() -> None:
    draw = drawn(["a", "b", "a", "lone \udcff byte"])
    assert len(draw) == 3
    assert {name for name, _ in draw.smallest(10)} == {"a", "b", "lone \udcff byte"}


@pytest.mark.parametrize("most", [1, 7])
def test_every_name_is_as_likely_as_any_other(most: int) -> None:
    early = sum(int(name.split()[1].split(".")[0]) < 25 for run in range(200) for name, _ in
                drawn([f"{run} {name}" for name in NAMES], most).smallest(most))  # fmt: skip
    assert abs(early - 100 * most) < 4 * (200 * most / 4) ** 0.5  # four standard deviations of a fair coin
