"""The page, made of Gradio's parts: what a click does is asked of an `Exploration`, and shown as HTML."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.explore import markup
from hf_alignet.explore.exploration import PAGE, Exploration
from hf_alignet.explore.thumbnails import Thumbnails, as_address, read_upload
from hf_alignet.images.formats import SUFFIXES

HERE = Path(__file__).parent
MISSING = 'the page needs Gradio: pip install "hf-alignet[app]"'
PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-row], button[data-place]');
  if (button) trigger('pick', { number: Number(button.dataset.row ?? button.dataset.place) });
});
"""
PICKS: dict[str, Any] = {"js_on_load": PICK, "elem_classes": ["picks"], "apply_default_css": False}
MAP = """<div class="map">
<div class="tools"><label>Projection <select>{axes}</select></label>
<button type="button" class="in" aria-label="zoom in">+</button>
<button type="button" class="out" aria-label="zoom out">−</button>
<button type="button" class="all">show all</button></div>
<div class="card" aria-live="polite"><img hidden><p>Rest the pointer on a dot, or touch it, or press an arrow key in a
map, to see its picture in all maps. The wheel, two fingers, or + and − zoom.</p></div>
<div class="legend"></div><div class="panels"></div></div>"""

Embed = Callable[[Image.Image], dict[str, np.ndarray]]
Draw = Callable[[int], list[int] | None]


def gradio() -> Any:
    """The package Gradio, which then asks nothing of anybody; InputError if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        return import_module("gradio")
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error


@dataclass(frozen=True)
class Placed:
    """A picture in one of the three places: a row, or an upload with its embedding (d,) by model."""

    address: str
    name: str
    row: int | None = None
    vectors: dict[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Board:
    """The three places of a visitor, the one that is filled next, and how many triplets were drawn."""

    places: tuple[Placed | None, ...] = (None, None, None)
    marked: int = 0
    drawn: int = 0

    def filled(self, picture: Placed) -> "Board":
        """With a picture in the marked place. The next empty place is marked, or else the next one."""
        places = (*self.places[: self.marked], picture, *self.places[self.marked + 1 :])
        order = [(self.marked + ahead) % 3 for ahead in (1, 2, 3)]
        marked = next((place for place in order if places[place] is None), order[0])
        return replace(self, places=places, marked=marked)


class Page:
    """Gradio's `Blocks` of an exploration.

    Args:
        exploration: what is shown.
        thumbnails: of its pictures.
        embed: gives the embedding (d,) of a picture by each model, for uploads.
        title: of the page.
        note: a sentence below it.
    """

    def __init__(self, exploration: Exploration, thumbnails: Thumbnails, embed: Embed, title: str, note: str = ""):
        self.exploration, self.thumbnails, self.embed = exploration, thumbnails, embed
        self.gr = gradio()
        self.blocks = self._build(title, note)

    def _build(self, title: str, note: str) -> Any:
        gr, found = self.gr, self.exploration
        # Uploads are deleted within minutes
        with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(300, 600)) as blocks:
            facts = f"{len(found.images):,} pictures; {' and '.join(found.models)}"
            gr.HTML(
                f"<h1>{escape(title)}</h1><p>{escape(facts)}</p><p>{escape(note)}</p>",
                elem_classes=["intro"],
                apply_default_css=False,
            )
            with gr.Tabs():
                with gr.Tab("Odd one out"):
                    self._odd_one_out()
                with gr.Tab("Neighbours"):
                    self._neighbours()
                with gr.Tab("Map"):
                    options = "".join(f'<option value="{i}">{axes}</option>' for i, axes in enumerate(found.axes))
                    script = (HERE / "map.js").read_text(encoding="utf-8")
                    gr.HTML(MAP.format(axes=options), js_on_load=script, apply_default_css=False)
                with gr.Tab("Levels") as tab:
                    table = gr.HTML("<p>…</p>", apply_default_css=False)
                    tab.select(self.levels, None, table, **self._quiet())
        return blocks

    def _odd_one_out(self) -> None:
        gr, found = self.gr, self.exploration
        state = gr.State(Board())
        board = gr.HTML(self._board(Board()), **PICKS)
        with gr.Row():
            draws: list[tuple[str, Draw]] = [("Three at random", found.three)]
            if found.judged is not None:
                draws.append((f"Judged by {found.judged.judge}", found.judged_three))
                if len(found.models) > 1:
                    draws.append(("Models disagree", found.disputed_three))
            for label, draw in draws:
                button = gr.Button(label)
                button.click(self._drawing(draw), state, [state, board], **self._quiet())
            upload = gr.UploadButton(
                "Upload a picture", file_types=sorted(SUFFIXES), file_count="multiple", type="filepath"
            )
            upload.upload(self.uploaded, [upload, state], [state, board], **self._quiet())
        grid = self._picker("Find pictures to compare")
        self._on_pick(grid, self.picked, state, [state, board])
        self._on_pick(board, self.marked, state, [state, board])

    def _neighbours(self) -> None:
        gr = self.gr
        first = gr.State(self.exploration.three(0)[0])
        shown = gr.HTML(self.neighbours(first.value, first.value), **PICKS)
        grid = self._picker("Find a picture", with_moved=len(self.exploration.models) > 1)
        for part in (shown, grid):
            self._on_pick(part, self.neighbours, first, shown)

    def _picker(self, label: str, with_moved: bool = False) -> Any:
        """A search, a page of pictures as buttons, and buttons for the other pages."""
        gr = self.gr
        page = gr.State(0)
        text = gr.Textbox(label=label, placeholder="label or row", max_lines=1)
        grid = gr.HTML(self.found("", 0), **PICKS)
        with gr.Row():
            back, on = gr.Button("Previous"), gr.Button("Next")
            moved = gr.Button("Neighbours changed most") if with_moved else None
        text.change(lambda text: (0, self.found(text, 0)), text, [page, grid], **self._quiet())
        for button, step in ((back, -1), (on, 1)):
            button.click(self._turning(step), [text, page], [page, grid], **self._quiet())
        if moved is not None:
            moved.click(self.moved, None, grid, **self._quiet())
        return grid

    def _on_pick(self, part: Any, action: Callable[[Any, int], Any], state: Any, outputs: Any) -> None:
        """Calls an action with a state and the number of the button that was clicked in a part of the page."""

        def picked(value: Any, event: Any) -> Any:
            return action(value, self._number(event))

        picked.__annotations__["event"] = self.gr.EventData  # by which Gradio knows what to give
        part.pick(picked, state, outputs, **self._quiet())

    def _quiet(self) -> dict[str, Any]:
        """Of an event: no part of an API for others, no bar, and not in a line behind other visitors."""
        return {"api_visibility": "private", "show_progress": "hidden", "queue": False}

    # ---- what a click does

    def picked(self, board: Board, row: int) -> tuple[Board, str]:
        """A picture of the dataset goes to the marked place."""
        board = board.filled(self._of_row(row))
        return board, self._board(board)

    def marked(self, board: Board, place: int) -> tuple[Board, str]:
        """Another place is filled next."""
        board = replace(board, marked=min(place, 2))
        return board, self._board(board)

    def uploaded(self, files: Sequence[str] | None, board: Board) -> tuple[Board, str]:
        """Pictures of a visitor go to the places. The files are deleted at once."""
        for file in list(files or [])[:3]:
            path = Path(file)
            try:
                picture = read_upload(path.read_bytes())
            except InputError as error:
                return board, self._board(board, str(error))
            finally:
                path.unlink(missing_ok=True)
            board = board.filled(Placed(as_address(picture), "your picture", vectors=self.embed(picture)))
        return board, self._board(board)

    def neighbours(self, _before: int, row: int) -> str:
        return markup.neighbours(self.exploration, row, self.exploration.neighbours(row), self.thumbnails.key)

    def found(self, text: str, page: int) -> str:
        rows, total = self.exploration.find(text, page)
        return markup.grid(self.exploration, rows, self.thumbnails.key, total, page, PAGE)

    def moved(self) -> str:
        rows = self.exploration.moved
        return markup.grid(self.exploration, rows, self.thumbnails.key, len(rows), 0, PAGE)

    def levels(self) -> str:
        table, judged = self.exploration.levels, self.exploration.judged
        if table is None or judged is None or not len(table):
            return "<p>Nobody judged triplets of these pictures: give judgments to see how often models agree.</p>"
        return markup.levels(table, judged.judge)

    def _drawing(self, draw: Draw) -> Callable[[Board], tuple[Board, str]]:
        def drawn(board: Board) -> tuple[Board, str]:
            rows = draw(board.drawn)
            if rows is None:
                return board, self._board(
                    board, "The models disagree on no judged triplet where one of them is right."
                )
            board = Board(tuple(map(self._of_row, rows)), 0, board.drawn + 1)
            return board, self._board(board)

        return drawn

    def _turning(self, step: int) -> Callable[[str, int], tuple[int, str]]:
        def turned(text: str, page: int) -> tuple[int, str]:
            last = (self.exploration.find(text)[1] - 1) // PAGE
            page = min(max(page + step, 0), max(last, 0))
            return page, self.found(text, page)

        return turned

    def _of_row(self, row: int) -> Placed:
        return Placed(markup.thumbnail_address(self.thumbnails.key, row), self.exploration.name(row), row)

    def _board(self, board: Board, problem: str = "") -> str:
        shown = [None if placed is None else (placed.address, placed.name) for placed in board.places]
        full = [placed for placed in board.places if placed is not None]
        if len(full) < 3:
            return markup.board(shown, board.marked, None, "", problem)
        vectors = {
            model: np.stack([of_model[p.row] if p.vectors is None else p.vectors[model] for p in full])
            for model, of_model in self.exploration.embeddings.items()
        }
        table = self.exploration.odd_one_out([placed.row for placed in full], vectors)
        how = (
            f"Each share is the probability that a picture is the odd one out, {self.exploration.temperatures.how}. "
            "Entropy is 0 if the choice is sure, and ln 3 = 1.10 nats if all are equally likely."
        )
        return markup.board(shown, board.marked, table, how, problem)

    def _number(self, event: Any) -> int:
        """The row, or place, that was clicked. Anybody can send any."""
        number, most = getattr(event, "number", None), len(self.exploration.images) - 1
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
            raise self.gr.Error(f"the row must be from 0 to {most}", print_exception=False)
        return number
