"""The page as a part of another one: the output of a notebook's cell."""

import html
import io
from collections.abc import Sequence

from speechshap.report.page.document import packed, page_of, write_document
from speechshap.report.page.entry import ReportEntry

_HEIGHT_PIXELS = 900


def embedded(entries: Sequence[ReportEntry], title: str, drawn: str = "") -> str:
    """HTML that shows some utterances, with all that the report can do: about 5 MB, and more for each of them.

    The page is in a frame that keeps it apart from the notebook: its scripts can neither read nor change what is there,
    and it asks for nothing from elsewhere.

    Args:
        entries: What is shown.
        title: Name of it.
        drawn: Of how many they are a draw, in words; empty where they are all.
    """
    rows = [{**entry.table_row(), "part": 0} for entry in entries]
    page = page_of(title, rows, notes=[drawn] if drawn else [], is_drawn=bool(drawn), is_embedded=True)
    document = io.StringIO()
    write_document(document, {**page, "part": 0}, (packed(entry.payload()) for entry in entries))
    return (
        f'<div><iframe title="{html.escape(title)}" sandbox="allow-scripts allow-downloads" '
        f'style="width: 100%; height: {_HEIGHT_PIXELS}px; border: 0" srcdoc="{html.escape(document.getvalue())}">'
        "</iframe></div>"
    )
