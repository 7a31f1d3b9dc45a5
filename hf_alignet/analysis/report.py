"""A report as one HTML file: text, figures, tables and pictures, all inside, without scripts and without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from hf_alignet.analysis.figures import save_figure
from hf_alignet.storage import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = "figures"  # folder beside the report
MOST_ROWS, FIRST_ROWS = 40, 5  # of a table in the report: all of up to 40, or the first; its file has all


@dataclass(frozen=True)
class Tile:
    """A picture of an example, or only its name where it may not be shown."""

    label: str
    picture: np.ndarray | None = None  # (h, w, 3) uint8
    marks: Sequence[str] = ()  # who chose it


@dataclass(frozen=True)
class Example:
    """Pictures in groups, in one line."""

    title: str
    groups: Sequence[tuple[str, Sequence[Tile]]]  # what a group is, and its pictures


@dataclass
class Section:
    """One part of a report.

    Attributes:
        key: short name, for links.
        heading: its title.
        text: paragraphs.
        figures: by the name of their files.
        tables: by the name of their files.
        examples: pictures.
    """

    key: str
    heading: str
    text: list[str]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)


def write_report(directory: Path, title: str, facts: Mapping[str, str], sections: Sequence[Section]) -> None:
    """Writes `report.html`, `figures/NAME.png` and `.svg`, and `NAME.csv` of each table.

    Args:
        directory: an open output folder.
        title: of the report.
        facts: what was analysed, by what it is.
        sections: in their order.
    """
    shown = []
    for section in sections:
        for name, figure in section.figures.items():
            for kind in ("png", "svg"):
                save_figure(figure, directory / FIGURES / f"{name}.{kind}")
        for name, table in section.tables.items():
            write_text(directory / f"{name}.csv", table.to_csv(index=False))
        pictures = [(name, _uri((directory / FIGURES / f"{name}.png").read_bytes())) for name in section.figures]
        tables = [(name, len(table), _first_rows(table)) for name, table in section.tables.items()]
        shown.append((section, pictures, tables))
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"cell": _cell, "uri": _picture_uri}
    page = environment.get_template("report.html.jinja").render(title=title, facts=facts, sections=shown)
    write_text(directory / "report.html", page + "\n")


def _first_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table.head(MOST_ROWS if len(table) <= MOST_ROWS else FIRST_ROWS)


def _cell(value: object) -> str:
    """A value of a table as people read it."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _picture_uri(picture: np.ndarray) -> str:
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "PNG")
    return _uri(memory.getvalue())


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
