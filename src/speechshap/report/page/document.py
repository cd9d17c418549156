"""The page as a self-contained HTML document."""

import base64
import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import IO, Any

from plotly.offline import get_plotlyjs

from speechshap.report.colours import SPEAKS_AGAINST, SPEAKS_FOR

_SCRIPTS = (
    "state.js", "links.js", "overview.js", "table.js", "utterance.js", "frames.js", "picture.js", "sound.js", "keys.js",
    "compare.js", "export.js", "corpus.js", "start.js",
)  # fmt: skip
"""Parts of the page's script, which follow each other."""

_STYLES = ("report.css", "viewer.css")
"""Parts of its style."""


def page_of(
    title: str,
    entries: Sequence[Mapping[str, Any]],
    names: Sequence[str] = ("",),
    notes: Sequence[str] = (),
    corpus: Sequence[Mapping[str, Any]] = (),
    *,
    is_drawn: bool = False,
    is_embedded: bool = False,
) -> dict[str, Any]:
    """What the page's script reads beside the utterances themselves.

    Args:
        title: Name of the run.
        entries: Rows of the table, each with the number of its file as ``part``.
        names: Of the files.
        notes: What is said of all of them.
        corpus: Figures of the corpus, with ``caption``, ``png`` and perhaps ``figure``.
        is_drawn: Whether the utterances are a draw, in which right and wrong ones are not as frequent as among all.
        is_embedded: Whether the page is a part of another one, whose address is not its own.
    """
    return {
        "title": title, "entries": list(entries), "files": list(names), "notes": list(notes), "corpus": list(corpus),
        "drawn": is_drawn, "embedded": is_embedded, "colours": {"for": SPEAKS_FOR, "against": SPEAKS_AGAINST},
    }  # fmt: skip


def write_document(file: IO[str], page: Mapping[str, Any], payloads: Iterable[str], first: int = 0) -> None:
    """Write a file of the page.

    Args:
        file: Where to.
        page: From :func:`page_of`, with the number of the file as ``part``.
        payloads: Of its utterances (:func:`packed`).
        first: Number of the first of them.
    """
    texts = {
        "style": "\n".join(map(_asset, _STYLES)),
        "plotly": get_plotlyjs(),
        "script": "\n".join(map(_asset, _SCRIPTS)),
        "page": json.dumps(page, allow_nan=False).replace("<", "\\u003c"),
    }
    for piece in re.split(r"(\{\{\w+\}\})", _asset("report.html")):
        if piece == "{{payloads}}":
            for number, payload in enumerate(payloads, first):
                file.write(f'<script type="text/plain" id="payload-{number}">{payload}</script>\n')
        else:
            file.write(texts[piece.strip("{}")] if piece.startswith("{{") else piece)


def packed(payload: Sequence[Mapping[str, Any]]) -> str:
    """Compressed JSON in base64, which HTML does not interpret."""
    plain = json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(plain, 6, mtime=0)).decode("ascii")


@cache
def num_bytes() -> int:
    """Size in bytes of a file without utterances."""
    return sum(len(_asset(name).encode()) for name in ("report.html", *_STYLES, *_SCRIPTS)) + len(
        get_plotlyjs().encode()
    )


def _asset(name: str) -> str:
    return (files("speechshap.report.page") / "web" / name).read_text(encoding="utf-8")
