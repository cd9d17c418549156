"""Alignments as the programs write them, from the descriptions of their formats."""

from pathlib import Path

import pytest

from speechshap.data.alignment import AlignmentError, Interval, Tier, find_alignment, read_alignment, table_tiers

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 1.5 
tiers? <exists> 
size = 2 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "words" 
        xmin = 0 
        xmax = 1.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 0.5 
            text = "" 
        intervals [2]:
            xmin = 0.5 
            xmax = 1 
            text = "say ""hi"" item [3]: <b> 7 !" 
        intervals [3]:
            xmin = 1 
            xmax = 1.5 
            text = "straße" 
    item [2]:
        class = "TextTier" 
        name = "clicks" 
        xmin = 0 
        xmax = 1.5 
        points: size = 1 
        points [1]:
            number = 0.7 
            mark = "x" 
"""  # noqa: W291 - as Praat writes it
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"IntervalTier"
"words"
0
1.5
3
0
0.5
""
0.5
1
"say ""hi"" item [3]: <b> 7 !"
1
1.5
"straße"
"TextTier"
"clicks"
0
1.5
1
0.7
"x"
"""
WORDS = [
    Interval(0.0, 0.5, ""),
    Interval(0.5, 1.0, 'say "hi" item [3]: <b> 7 !'),
    Interval(1.0, 1.5, "straße"),
]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("text", [LONG, SHORT, LONG.replace("\n", "\r\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "be"])
def test_a_text_grid_is_read_in_every_form(text: str, encoding: str, tmp_path: Path) -> None:
    content = b"\xfe\xff" + text.encode("utf-16-be") if encoding == "be" else text.encode(encoding)
    assert read_alignment(write(tmp_path / "a.TextGrid", content)) == [Tier("words", WORDS)]


@pytest.mark.parametrize("label", ["", "sil", "SIL", "sp", "<eps>", " "])
def test_a_pause_has_no_label(label: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.TextGrid", LONG.replace("straße", label))
    assert read_alignment(path)[0].intervals[2].label == ""


ELAN = (
    'words\tAnna\t00:00:00.100\t0.1\t100\t00:00:00.450\t0.45\t450\t00:00:00.350\t0.35\t350\tthe "cat"\n'
    "gesture\t\t00:01:00.000\t60.0\t60000\t00:01:01.000\t61.0\t61000\t00:00:01.000\t1.0\t1000\t3\n"
)


@pytest.mark.parametrize("formats", [(0, 1, 2), (0,), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("head", ["", '"#file:///a.eaf -- offset: 0"\n', '#"file:///a.wav" -- offset: 0\n\n'])
def test_elans_export_is_read_in_every_format_of_time(formats: tuple[int, ...], head: str, tmp_path: Path) -> None:
    def chosen(line: str) -> str:
        cells = line.split("\t")
        return "\t".join(
            [*cells[:2], *(cells[2 + 3 * kind + each] for kind in range(3) for each in formats), cells[-1]]
        )

    text = head + "".join(f"{chosen(line)}\n" for line in ELAN.splitlines())
    assert read_alignment(write(tmp_path / "a.txt", text)) == [
        Tier("words", [Interval(0.1, 0.45, 'the "cat"')]),
        Tier("gesture", [Interval(60.0, 61.0, "3")]),
    ]


@pytest.mark.parametrize("time", ["ss.msec", "msec"])
def test_elans_export_with_a_column_for_each_tier(time: str, tmp_path: Path) -> None:
    scale = 1000 if time == "msec" else 1
    text = (
        f"Begin Time - {time}\tEnd Time - {time}\tDuration - {time}\twords\tspeech act\n"
        f"{0.25 * scale:g}\t{0.5 * scale:g}\t{0.25 * scale:g}\tyes\t\n"
        f"{0.5 * scale:g}\t{1 * scale:g}\t{0.5 * scale:g}\tno\trefusal\n"
    )
    assert read_alignment(write(tmp_path / "a.txt", text)) == [
        Tier("words", [Interval(0.25, 0.5, "yes"), Interval(0.5, 1.0, "no")]),
        Tier("speech act", [Interval(0.5, 1.0, "refusal")]),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'Begin,End,Label,Type,Speaker\n0.5,0.8,"no, no",words,a\n0.1,0.5,yes,words,a\n0.1,0.2,j,phones,a\n'),
        ("a.csv", 'start;end;label;tier\n0.5;0.8;no, no;words\n0.1;0.5;yes;words\n0.1;0.2;j;phones\n'),
        ("a.tsv", "tmin\ttier\ttext\ttmax\n0.5\twords\tno, no\t0.8\n0.1\twords\tyes\t0.5\n0.1\tphones\tj\t0.2\n"),
    ],
)  # fmt: skip
def test_tables_of_the_aligner_of_people_and_of_praat(name: str, text: str, tmp_path: Path) -> None:
    assert read_alignment(write(tmp_path / name, text)) == [
        Tier("words", [Interval(0.1, 0.5, "yes"), Interval(0.5, 0.8, "no, no")]),
        Tier("phones", [Interval(0.1, 0.2, "j")]),
    ]


def test_a_table_of_one_tier_has_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "start,end,label\n0,1,yes\n")
    assert read_alignment(path) == [Tier("words", [Interval(0.0, 1.0, "yes")])]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.TextGrid", "", "it has its end where a text is expected"),
        ("a.TextGrid", "hello", "it has its end where a text is expected"),
        ("a.TextGrid", SHORT[:-60], "it has its end where a number is expected; it may be cut off"),
        ("a.TextGrid", LONG.replace("xmin = 0.5", "xmin = abc"), "where a number is expected"),
        ("a.TextGrid", LONG.replace("xmax = 1 ", "xmax = 0.4 "), "is from 0.5 to 0.4 s"),
        ("a.TextGrid", LONG.replace("xmax = 1 ", "xmax = 1e999 "), "is from 0.5 to inf s"),
        ("a.TextGrid", LONG.encode("latin-1"), "no text in UTF-8 or UTF-16"),
        ("a.TextGrid", b"ooBinaryFile\x08TextGrid\0\0", "no text in UTF-8 or UTF-16"),
        ("a.csv", "path,label\na.wav,sad\n", "it begins with 'path,label'; expected a TextGrid, ELAN's"),
        ("a.csv", "start,end,label\n0.1,soon,yes\n", r"line 2 \(could not convert string to float: 'soon'\)"),
        ("a.csv", "start,end,label\n0.1\n", r"line 2 \("),
        ("a.csv", "start,end,label\nnan,1,yes\n", "is from nan to 1 s"),
        ("a.csv", "", "it is empty"),
        ("a.csv", "0.1,0.2,yes\n", "it begins with '0.1,0.2,yes'"),
        ("a.txt", "a\tb\tc\n", r"line 1 \(it has no begin and end\)"),
        ("a.txt", "00:00:00.100\t00:00:00.200\tyes\n", r"line 1 \(it names no tier"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line_with_the_file(
    name: str, content: str | bytes, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(AlignmentError, match=reason) as error:
        read_alignment(path)
    assert str(error.value).startswith(f"{path}: the alignment cannot be read")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stop", range(0, len(SHORT) - 2, 7))
def test_a_text_grid_that_is_cut_off_never_passes_for_a_whole_one(stop: int, tmp_path: Path) -> None:
    with pytest.raises(AlignmentError):
        read_alignment(write(tmp_path / "a.TextGrid", SHORT[:stop]))


def test_an_alignment_is_found_by_the_name_of_its_sound(tmp_path: Path) -> None:
    sound = tmp_path / "corpus" / "anna" / "a.1.wav"
    assert find_alignment(sound) is None
    write(sound.with_suffix(".txt"), "a.1\twhat anna says\n")
    assert find_alignment(sound) is None  # a transcript
    table = write(sound.with_suffix(".csv"), "start,end,label\n")
    assert find_alignment(sound) == table
    grid = write(sound.with_suffix(".TextGrid"), SHORT)
    assert find_alignment(sound) == grid


@pytest.mark.parametrize("inside", ["", "anna", "corpus/anna"])
def test_a_folder_of_alignments_mirrors_the_corpus_or_a_part_of_its_folders(inside: str, tmp_path: Path) -> None:
    aligned = write(tmp_path / "aligned" / inside / "a.TextGrid", SHORT)
    assert find_alignment(tmp_path / "corpus" / "anna" / "a.wav", tmp_path / "aligned") == aligned
    assert find_alignment(tmp_path / "corpus" / "bert" / "b.wav", tmp_path / "aligned") is None


def test_of_two_sounds_of_one_name_each_has_the_alignment_of_its_folder(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        expected = write(tmp_path / "aligned" / name / "a.TextGrid", SHORT)
        assert find_alignment(Path("corpus", name, "a.wav"), tmp_path / "aligned") == expected


@pytest.mark.parametrize(
    "times", ["7\t100\t400", "100\t400", "100\t400\t300", "Anna\t0.1\t0.4\t0.3", "7\t100\t400\t300"]
)  # fmt: skip
def test_numbers_of_elan_that_are_no_begin_and_end(times: str) -> None:
    """A participant's number before them, a duration behind."""
    (tier,) = table_tiers(f"words\t{times}\tyes, well, I, mean, it, so\n")
    assert tier.intervals == [Interval(0.1, 0.4, "yes, well, I, mean, it, so")]
