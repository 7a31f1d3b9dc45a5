"""The settings of a study: texts and times that a researcher may edit, and the plan. One readable YAML file.

The protocol is that of Levels (Muttenthaler et al. 2025, section 4.3): a fixation cross for 1 s, an answer from 1 s to
15 s after the pictures appear, pauses after 50, 150 and 200 trials.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Self

import yaml

from hf_alignet.errors import InputError
from hf_alignet.ranges import Count, Positive, Range, Whole, check_fields
from hf_alignet.text_files import load_yaml

SETTINGS_FILE = "study.yaml"
WEB_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
HEADER = """\
# A study of odd-one-out choices. Texts may be edited at any time, in Markdown where a text has several lines.
# The times under `protocol` may be edited until the first participant has started; `plan` is what was made by
# `collect init`, and stays.
"""
CONSENT = """\
**Edit this text in study.yaml: say who you are, what the data are for, and whom to ask.**

In this study you see three pictures at a time, and choose the one that is the odd one out. There are no right or
wrong answers. You may stop at any time by closing this page. We store your answers and how long they took, and no
name.
"""
INSTRUCTIONS = """\
You will see a cross, and then three pictures. **Choose the picture that is the odd one out**: the one that is least
like the other two.

- Keyboard: the arrow key ← chooses the first, ↑ or ↓ the second, → the third picture. The keys 1, 2 and 3 do the same.
- Mouse or touch: choose the picture itself.

Go by your first impression. You can answer one second after the pictures appear, and have 15 seconds.
"""
DEBRIEFING = "**Thank you!** Your answers help to find out which pictures people see as alike."


@dataclass(frozen=True)
class StudyTexts:
    """What participants read; the longer ones in Markdown, without HTML.

    Attributes:
        title: of the pages.
        question: above the pictures.
        consent: what a participant agrees to.
        instructions: before the practice.
        debriefing: after the last trial.
        demographics: optional questions, each with `name`, `label` and, if it is not free, `choices`.
        completion_code: shown at the end.
        completion_url: address, at the end, of the platform that sent the participant.
    """

    title: str = "Which picture is the odd one out?"
    question: str = "Which picture is the odd one out?"
    consent: str = CONSENT
    instructions: str = INSTRUCTIONS
    debriefing: str = DEBRIEFING
    demographics: Sequence[dict[str, Any]] = (
        {"name": "age", "label": "Age in years"},
        {"name": "gender", "label": "Gender"},
    )
    completion_code: str | None = None
    completion_url: str | None = None

    def __post_init__(self) -> None:
        for name in ("title", "question", "consent", "instructions", "debriefing"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise InputError(f"texts.{name} must be a text, got {getattr(self, name)!r}")
        if self.completion_code is not None:
            object.__setattr__(self, "completion_code", str(self.completion_code))
        if self.completion_url is not None and not WEB_ADDRESS.fullmatch(str(self.completion_url)):
            raise InputError(f"texts.completion_url must begin with https://, got {self.completion_url!r}")
        names = [_question_name(question) for question in self.demographics or ()]
        if len(set(names)) < len(names):
            raise InputError(f"two questions in texts.demographics have one name: {', '.join(names)}")


def _question_name(question: Any) -> str:
    is_form = isinstance(question, dict) and {"name", "label"} <= question.keys() <= {"name", "label", "choices"}
    if not is_form or not FIELD_NAME.fullmatch(str(question["name"])):
        raise InputError(
            f"a question in texts.demographics needs `name` (small letters, digits, _), `label`, and maybe a list of "
            f"`choices`, got {question!r}"
        )
    return str(question["name"])


@dataclass(frozen=True)
class StudyProtocol:
    """Times and limits.

    Attributes:
        fixation: seconds of the cross.
        earliest: seconds from the pictures' onset to the first possible answer.
        latest: seconds from the onset to the end of a trial without an answer.
        feedback: seconds of the feedback in practice.
        pauses_after: numbers of trials, without practice, after which participants rest.
        hand_out_again_after: minutes without an answer after which a trial set goes to another participant.
        starts_per_minute: greatest number of new participants from one network address.
        answers_per_minute: greatest number of requests by one participant.
    """

    fixation: Positive = 1.0
    earliest: Annotated[float, Range(0)] = 1.0
    latest: Positive = 15.0
    feedback: Positive = 1.5
    pauses_after: Sequence[int] = (50, 150, 200)
    hand_out_again_after: Positive = 120.0
    starts_per_minute: Count = 60
    answers_per_minute: Count = 240

    def __post_init__(self) -> None:
        check_fields(self)
        if self.latest <= self.earliest:
            raise InputError(f"protocol.latest must be above protocol.earliest, got {self.latest} and {self.earliest}")
        if not all(isinstance(number, int) and number > 0 for number in self.pauses_after or ()):
            raise InputError(f"protocol.pauses_after must be numbers of trials, got {self.pauses_after!r}")


@dataclass(frozen=True)
class StudyPlan:
    """What was planned; see `init_study`.

    Attributes:
        images: name of the image dataset.
        num_images: n.
        num_pictures: of them, those that are shown.
        num_participants: number of trial sets.
        trials: in a set, without catch trials and practice.
        repeats: sets with the same triplets.
        catch_trials: in a set.
        practice_trials: in a set.
        levels: number of triplets by level, `all` without levels.
        seed: of the random draws.
    """

    images: str
    num_images: int
    num_pictures: int
    num_participants: Count
    trials: Count
    repeats: Count
    catch_trials: Whole
    practice_trials: Whole
    levels: dict[str, int]
    seed: int

    @property
    def num_triplets(self) -> int:
        """Of different triplets, without those of catch trials and practice."""
        return self.num_participants * self.trials // self.repeats

    @property
    def places(self) -> int:
        """Screens with pictures in a set."""
        return self.practice_trials + self.trials + self.catch_trials


@dataclass(frozen=True)
class StudySettings:
    """All settings of a study."""

    plan: StudyPlan
    texts: StudyTexts = field(default_factory=StudyTexts)
    protocol: StudyProtocol = field(default_factory=StudyProtocol)

    def fingerprint(self, part: str) -> str:
        """Digest of `plan` or `protocol`, to notice a change."""
        text = json.dumps(asdict(getattr(self, part)), sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()

    def text(self) -> str:
        """What study.yaml says."""
        content = {part: _plain(asdict(getattr(self, part))) for part in ("texts", "protocol", "plan")}
        body = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        return HEADER + "\n" + re.sub(r"\n(?=\w)", "\n\n", body)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads study.yaml. Raises an InputError if something in it is unknown, missing or out of range."""
        file = folder / SETTINGS_FILE
        content = load_yaml(file, "the study")
        parts: dict[str, Any] = {"texts": StudyTexts, "protocol": StudyProtocol, "plan": StudyPlan}
        if not isinstance(content, dict) or set(content) != set(parts):
            raise InputError(f"{file} must have the parts {', '.join(parts)}, and nothing else")
        made = {}
        for name, kind in parts.items():
            known = {entry.name for entry in fields(kind)}
            given = content[name] if isinstance(content[name], dict) else {}
            if unknown := sorted(map(str, set(given) - known)):
                raise InputError(f"{file}: {name} has the unknown entry {unknown[0]!r}; known are {', '.join(known)}")
            try:
                made[name] = kind(**given)
            except TypeError as error:
                raise InputError(f"{file}: {name} is not complete: {error}") from error
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
        return cls(**made)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stay readable."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
