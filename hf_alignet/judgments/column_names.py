"""Which column of a table of choices is which: by a mapping, or by the names that people and software give.

Case, spaces, dots and underscores do not matter, so that `Image 1`, `image_1` and `IMAGE1` are one name. This is the
only place that knows the names.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import IS_CATCH, LEVEL, PARTICIPANT, RT
from hf_alignet.judgments.rows import ODD
from hf_alignet.text_files import parse_json, refuse_twice

IMAGES = ("image_1", "image_2", "image_3")
TRIPLE = "images"  # one column with all three: a list, or HTML with three pictures
CHOICE = "odd_one_out"
KIND, STATUS = "kind", "status"  # what a row is: the screen that it is about, and the state of the answers
ROLES = (*IMAGES, TRIPLE, CHOICE, ODD, PARTICIPANT, RT, LEVEL, IS_CATCH)

STEMS = ("image", "img", "stimulus", "stim", "picture", "pic", "photo", "item", "object", "option", "")
PLACES = (
    ("1", "2", "3"),
    ("0", "1", "2"),
    ("a", "b", "c"),
    ("left", "middle", "right"),
    ("left", "center", "right"),
    ("left", "centre", "right"),
)
ENDS = ("", "name", "filename", "file", "path", "src", "url")
# By role, the most telling name first. Names of software: `key_resp.keys` and `mouse.clicked_name` are PsychoPy's,
# `ResponseId` and `Page Submit` Qualtrics', `Participant Private ID` and `Zone Type` Gorilla's, `trial_type`
# jsPsych's, `sender` lab.js'. Qualtrics' `Duration (in seconds)` is that of the whole survey, so it is not here.
NAMES = {
    TRIPLE: ("images", "triplet", "stimuli", "choices", "stimulus", "options"),
    CHOICE: (
        *("oddoneout", "odd", "oddone", "oddimage", "oddoneoutimage", "chosenodd", "choice", "chosen", "chosenimage"),
        *("selected", "selectedimage", "selection", "clicked", "clickedimage", "clickedname", "mouseclickedname"),
        *("response", "answer", "resp", "keyrespkeys", "keys"),
    ),
    PARTICIPANT: (
        *("participant", "participantid", "participantno", "participantnumber", "participantprivateid", "subject"),
        *("subjectid", "subjectno", "subjectnumber", "subjectnr", "subj", "subjid", "sub", "subid", "ppt", "pptid"),
        *("rater", "raterid", "worker", "workerid", "annotator", "annotatorid", "observer", "user", "userid"),
        *("prolificid", "prolificpid", "mturkworkerid", "participantpublicid", "respondent"),
        *("respondentid", "responseid", "runid", "pid", "sessionid"),
    ),
    RT: (
        *("rt", "reactiontime", "responsetime", "responselatency", "latency", "decisiontime", "keyresprt"),
        *("mousetime", "pagesubmit", "timetaken", "duration"),
    ),
    LEVEL: ("level", "tripletlevel", "abstractionlevel"),
    IS_CATCH: (
        *("iscatch", "catch", "catchtrial", "iscatchtrial", "attentioncheck", "isattentioncheck", "attentiontrial"),
        *("isattentiontrial", "vigilance"),
    ),
    KIND: ("trialtype", "zonetype", "responsetype", "sender"),
    STATUS: ("status",),
}
OF_LEVELS = "exptrialtype"  # in results of Levels, which have exclusions of their own: see `levels_study`
UNIT = re.compile(r"^(.+?)[\s_.]*[\s_.(\[](ms|msecs?|millis|milliseconds?|s|secs?|seconds?)[)\]]?$", re.IGNORECASE)
LAST_PART = re.compile(r"\.|_(?=page submit$)", re.IGNORECASE)  # component.rt, Q3_Page Submit


class Columns(NamedTuple):
    """Where the columns of a table are."""

    places: dict[str, int]  # place in the header, by role
    time_unit: str | None  # `s` or `ms`, if the name of the column of response times says it
    unclear: dict[str, list[str]]  # columns that could equally well have a role, which none of them gets
    given: frozenset[str]  # the roles that the user named

    @property
    def is_complete(self) -> bool:
        return not self.missing()

    def missing(self) -> list[str]:
        """The required roles that no column has."""
        missing = [] if TRIPLE in self.places else [name for name in IMAGES if name not in self.places]
        return missing + ([] if {CHOICE, ODD} & set(self.places) else [CHOICE])


def plain(name: str) -> str:
    """A name without case, spaces and marks.

    Example:
        >>> plain("Image_1"), plain(" RT (ms)")
        ('image1', 'rtms')
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name)).casefold()


def parse_mapping(columns: Mapping[str, str] | str | None) -> dict[str, str]:
    """The columns that a user names, by role, from a mapping, `role=column,role=column`, or JSON.

    Raises an InputError if it cannot be read, or names an unknown role.
    """
    if isinstance(columns, str):
        columns = _from_text(columns)
    given = {str(role).strip(): str(name).strip() for role, name in (columns or {}).items()}
    unknown = [role for role in given if role not in ROLES]
    if unknown:
        raise InputError(f"`columns` names {unknown[0]!r}, which no table has; it can be {', '.join(ROLES)}")
    return given


def _from_text(text: str) -> dict[str, str]:
    if text.lstrip().startswith("{"):
        try:
            return parse_json(text)
        except ValueError as error:
            raise InputError(f"`columns` is no JSON: {error}: {text!r}") from error
    # A comma may be a part of a name: only one before another role and = is between entries
    entries = re.split(rf",\s*(?=(?:{'|'.join(ROLES)})\s*=)", text)
    if any("=" not in entry for entry in entries):
        raise InputError(f"`columns` must be like image_1=Left,odd_one_out=Answer, got {text!r}")
    return {role: name for role, _, name in (entry.partition("=") for entry in entries)}


def find_columns(header: Sequence[str], given: Mapping[str, str], source: str = "the table") -> Columns:
    """Finds the columns of a table by its header.

    Args:
        header: names of the columns.
        given: the names that the user gave, by role; an empty name leaves the role out.
        source: name of the table, for messages.

    Raises:
        InputError: a given column does not exist, or several columns have the name of one.
    """
    places = {role: _place(name, header, source) for role, name in given.items() if name}
    if TRIPLE not in given:
        of_images = _by_role(header) if set(IMAGES) & set(given) else _triple(header)
        places |= _without_namesakes({r: at for r, at in of_images.items() if r not in given}, header, source)
    unclear: dict[str, list[str]] = {}
    for role in (CHOICE, PARTICIPANT, RT, LEVEL, IS_CATCH, KIND, STATUS):
        if role in given or (role == CHOICE and ODD in given):
            continue
        found = [place for place in _named(NAMES[role], header) if place not in places.values()]
        refuse_twice([header[place] for place in found], source)
        if len(found) == 1:
            places[role] = found[0]
        elif found:
            unclear[role] = [header[place] for place in found]
    time_unit = _split_unit(header[places[RT]])[1] if RT in places else None
    return Columns(places, time_unit, unclear, frozenset(given))


def is_table_of_choices(header: Sequence[str], given: Mapping[str, str]) -> bool:
    """Whether a table with these columns is meant to hold choices, even if a column is missing."""
    if OF_LEVELS in map(plain, header) and not given:
        return False
    return bool(given) or bool(set(IMAGES) & _triple(header).keys()) or find_columns(header, {}).is_complete


def _place(name: str, header: Sequence[str], source: str) -> int:
    for spelled, names in ((name, list(header)), (plain(name), list(map(plain, header)))):
        if names.count(spelled) > 1:
            raise InputError(f"{source} has several columns {name!r}: give each its own name")
        if spelled in names:
            return names.index(spelled)
    raise InputError(f"`columns` names the column {name!r}, which {source} lacks; it has {', '.join(header)}")


def _triple(header: Sequence[str]) -> dict[str, int]:
    """The columns of the three images, or that with all three, or those of them that are there."""
    names = list(map(plain, header))
    known = set(names)
    for stem in STEMS:
        for end in ENDS:
            for places in PLACES[0 if stem else 3 :]:
                for wanted in ([stem + p + end for p in places], [p + stem + end for p in places]):
                    if known.issuperset(wanted):
                        return dict(zip(IMAGES, map(names.index, wanted), strict=True))
    if not any(plain(name) in names for name in IMAGES):
        found = _named(NAMES[TRIPLE], header)
        return {TRIPLE: found[0]} if len(found) == 1 else {}
    return _by_role(header)


def _by_role(header: Sequence[str]) -> dict[str, int]:
    names = list(map(plain, header))
    return {name: names.index(plain(name)) for name in IMAGES if plain(name) in names}


def _without_namesakes(places: dict[str, int], header: Sequence[str], source: str) -> dict[str, int]:
    """The same places. Raises an InputError if another column has the name of one of them: either could be meant."""
    names = list(map(plain, header))
    for place in places.values():
        if names.count(names[place]) > 1:
            raise InputError(f"{source} has several columns {header[place]!r}: give each its own name")
    return places


def _named(known: Iterable[str], header: Sequence[str]) -> list[int]:
    """The columns that have the first of the known names that any has: as a whole, or else after a dot."""
    bare = [_split_unit(name)[0] for name in header]
    for spelled in (list(map(plain, header)), list(map(plain, bare)), [plain(LAST_PART.split(n)[-1]) for n in bare]):
        for name in known:
            if name in spelled:
                return [place for place, other in enumerate(spelled) if other == name]
    return []


def _split_unit(name: str) -> tuple[str, str | None]:
    """A name without its unit of time, and the unit, `s` or `ms`.

    Example:
        >>> _split_unit("RT (ms)"), _split_unit("reaction_time_s"), _split_unit("rt")
        (('RT', 'ms'), ('reaction_time', 's'), ('rt', None))
    """
    match = UNIT.match(name.strip())
    return (name, None) if match is None else (match[1], "ms" if match[2].lower().startswith("m") else "s")
