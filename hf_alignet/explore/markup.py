"""Pieces of the page as HTML. Labels are other people's words: all of them are escaped."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from hf_alignet.explore.exploration import Exploration
from hf_alignet.explore.odd_ones import PROBABILITIES
from hf_alignet.similarity import CHANCE, NO_CHOICE

Shown = tuple[str, str]  # the address of a small picture, and its name


def thumbnail_address(key: str, row: int) -> str:
    """Where the page finds the small picture of a row, from the page's own address."""
    return f"./thumbnail/{key}/{row}.jpg"


def picture(shown: Shown) -> str:
    """A picture with its name as the text for those who do not see it."""
    return f'<img src="{escape(shown[0])}" alt="{escape(shown[1])}" loading="lazy" decoding="async">'


def board(
    pictures: Sequence[Shown | None], marked: int, table: pd.DataFrame | None, how: str, problem: str = ""
) -> str:
    """The three places, of which one is marked to be filled, and below them what each model chooses.

    Args:
        pictures: in the three places.
        marked: place.
        table: from `odd_one_table`, once all places are filled.
        how: a sentence about its probabilities.
        problem: why a picture could not be placed.
    """
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    heads = "".join(_place(place, shown, place == marked) for place, shown in enumerate(pictures))
    body = "" if table is None else "".join(_choices(row, pictures) for row in table.to_dict("records"))
    caption = escape(how) if table is not None else "Fill the three places: pick pictures below, or upload your own."
    return (
        f'{alert}<table class="board"><caption aria-live="polite">'
        f"{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def _place(place: int, shown: Shown | None, is_marked: bool) -> str:
    inner = picture(shown) if shown is not None else '<span class="empty" aria-hidden="true">+</span>'
    name = escape(shown[1]) if shown is not None else "empty"
    told = f"{PROBABILITIES[place]} place: {name}. Replace it by the next picture that you pick"
    pressed = "true" if is_marked else "false"
    return (
        f'<th scope="col"><button type="button" data-place="{place}" aria-pressed="{pressed}" '
        f'aria-label="{told}">{inner}</button>'
        f'<span class="name">{name}</span></th>'
    )


def _choices(row: Mapping, pictures: Sequence[Shown | None]) -> str:
    odd = row["odd"]
    names = [shown[1] if shown is not None else "" for shown in pictures]
    chosen = "cannot decide" if odd == NO_CHOICE else f"odd one out: {names[odd]}"
    cells = ""
    for place, name in enumerate(PROBABILITIES):
        share = float(row[name])
        mark = '<strong class="odd">odd one out</strong>' if place == odd else ""
        cells += f'<td class="{"chosen" if place == odd else ""}">{_bar(share)}{share:.0%} {mark}</td>'
    return (
        f'<tr class="who"><th scope="rowgroup" colspan="3">{escape(str(row["who"]))} '
        f'<span class="note">{escape(chosen)}; entropy {row["entropy"]:.2f} of 1.10 nats</span></th></tr>'
        f"<tr>{cells}</tr>"
    )


def _bar(share: float) -> str:
    return f'<span class="bar" aria-hidden="true"><span style="width:{100 * share:.1f}%"></span></span>'


def grid(
    exploration: Exploration, rows: Sequence[int] | np.ndarray, key: str, total: int, page: int, size: int
) -> str:
    """Pictures to pick from, as buttons."""
    if not len(rows):
        return '<p class="count" aria-live="polite">No picture has this label or row.</p>'
    buttons = "".join(
        f'<button type="button" data-row="{row}" title="{escape(exploration.name(row))}">'
        f"{picture((thumbnail_address(key, row), exploration.name(row)))}</button>"
        for row in map(int, rows)
    )
    first = page * size + 1
    count = f"{first:,}–{first + len(rows) - 1:,} of {total:,} pictures"
    return f'<p class="count" aria-live="polite">{count}</p><div class="grid">{buttons}</div>'


def neighbours(exploration: Exploration, row: int, table: pd.DataFrame, key: str) -> str:
    """A picture, and the nearest ones by each model, each a button that asks for its own neighbours."""
    name = exploration.name(row)
    models = exploration.models
    parts = [
        f'<div class="query">{picture((thumbnail_address(key, row), name))}<p>Nearest to {escape(name)}</p></div>'
    ]
    for model, near in table.groupby("model", sort=False):
        items = ""
        for found in near.to_dict("records"):
            other = int(found["row"])
            was = f", {_ordinal(found['before'])} by {models[0]}" if model != models[0] else ""
            told = f"{exploration.name(other)}: {_ordinal(found['rank'])}{was}, cosine {found['cosine']:.2f}"
            moved = f'<span class="was">was {_ordinal(found["before"])}</span>' if was else ""
            items += (
                f'<li><button type="button" data-row="{other}" title="{escape(told)}">'
                f"{picture((thumbnail_address(key, other), told))}</button>"
                f'<span class="name">{escape(exploration.labels[other])}</span>'
                f'<span class="name">{found["cosine"]:.2f} {moved}</span></li>'
            )
        parts.append(f'<section><h3>{escape(str(model))}</h3><ol class="near">{items}</ol></section>')
    return f'<div aria-live="polite">{"".join(parts)}</div>'


def _ordinal(rank: int) -> str:
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank:,}{ending}"


def levels(table: pd.DataFrame, judge: str) -> str:
    """Accuracies with their intervals, one row a level and one column a model."""
    models = list(dict.fromkeys(table.model))
    heads = "".join(f'<th scope="col">{escape(model)}</th>' for model in models)
    body = ""
    for level, of_level in table.groupby("level", sort=False):
        found = of_level.set_index("model")
        cells = "".join(_accuracy(found.loc[model]) for model in models)
        n = int(of_level.n.iloc[0])
        name = escape(str(level).replace("_", " "))
        body += f'<tr><th scope="row">{name}<span class="note">n = {n:,}</span></th>{cells}</tr>'
    unit = table.unit.dropna()
    over = f", 95 % intervals over {unit.iloc[0]}" if len(unit) else ""
    caption = (
        f"Share of triplets in which a model finds the same picture odd as {escape(judge)} mostly do{over}. "
        f"Chance is {CHANCE:.3f} (the line in each bar); ties are never right."
    )
    head = f'<tr><th scope="col">level</th>{heads}</tr>'
    return f'<table class="levels"><caption>{caption}</caption><thead>{head}</thead><tbody>{body}</tbody></table>'


def _accuracy(found: pd.Series) -> str:
    interval = "" if np.isnan(found.low) else f'<span class="note">[{found.low:.3f}, {found.high:.3f}]</span>'
    return f'<td><span class="chance">{_bar(found.accuracy)}</span>{found.accuracy:.3f} {interval}</td>'
