"""Plans a study: from pictures to trial sets, a folder that `serve_study` serves."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.collect.planned_triplets import NO_LEVEL, StudyTriplets
from hf_alignet.collect.study_database import (
    CATCH,
    DATABASE_FILE,
    PICTURES,
    PRACTICE,
    TRIAL,
    connect,
    create_database,
    num_answers,
)
from hf_alignet.collect.study_pictures import write_pictures
from hf_alignet.collect.study_settings import SETTINGS_FILE, StudyPlan, StudyProtocol, StudySettings
from hf_alignet.collect.study_triplets import draw_questions, draw_triplets, read_study_triplets, without
from hf_alignet.collect.trial_order import blocks_of, check_shares, trial_sets_of
from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import wilson_interval
from hf_alignet.images import load_images
from hf_alignet.judgments import image_names
from hf_alignet.ranges import Count, NotNegative, Seed, Whole, checked
from hf_alignet.sources import public_name
from hf_alignet.storage import output_folder, write_text
from hf_alignet.teacher import Vice

MAKER = "collect init"
RESPONSE = 3.0  # seconds from the pictures to an answer; people take two or three
READING = 5.0  # minutes for consent, instructions and practice's feedback
PAUSE = 0.5  # minutes
SUPPOSED_ACCURACY = 0.6  # of a model, for the expected interval

logger = logging.getLogger(__name__)


@checked
def init_study(
    study: str,
    images: str,
    image_split: str = "train",
    image_column: str | None = None,
    triplets: str | None = None,
    catch: str | None = None,
    vice: str | None = None,
    num_participants: Count = 100,
    trials: Count = 330,
    repeats: Count = 5,
    catch_trials: Whole = 16,
    practice_trials: Whole = 8,
    picture_edge: Count = 600,
    pay_per_hour: NotNegative = 12.0,
    seed: Seed = 42,
    dry_run: bool = False,
    progress: bool = True,
) -> str:
    """Plans a study: study.yaml, study.sqlite3 and pictures/ in a folder.

    Args:
        study: folder of the study.
        images: path or Hub id of the pictures. With classes (a column `label`, or one folder a class) a third of the
            triplets is of each level: coarse, fine and boundary.
        image_split: split of the images, or `all` to join all splits.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        triplets: path or Hub id of the triplets to judge, instead of drawing them: a CSV file with the columns
            image_1, image_2 and image_3, the output of `make_triplets`, or judgments.
        catch: path or Hub id of triplets with a right answer, for catch trials and practice: a CSV file with the
            columns image_1, image_2, image_3 and odd_one_out, or the output of `make_triplets`, of which those with
            the lowest entropy are taken. By default they are drawn by class, if there are classes.
        vice: path or Hub id of a VICE that was fitted to choices about these images: take the triplets about whose
            choices it would learn most, instead of any.
        num_participants: number of trial sets.
        trials: trials of a participant, without catch trials and practice. Levels had 330.
        repeats: how many participants judge each triplet.
        catch_trials: catch trials of a participant, which show whether he or she pays attention.
        practice_trials: trials before, with feedback where there is a right answer.
        picture_edge: longest edge in pixels of the pictures that are shown.
        pay_per_hour: of a participant, in any currency, for the costs in the plan.
        seed: seed of all random draws.
        dry_run: only show the plan.
        progress: show a bar.

    Returns:
        The plan in words.

    Raises:
        InputError: there are too few pictures or triplets, participants cannot share the triplets evenly, a picture
            cannot be decoded, or the folder holds a study with answers.
    """
    check_shares(num_participants, repeats)
    folder = Path(study).expanduser()
    _check_no_answers(folder)
    dataset = load_images(images, image_split, image_column)
    if len(dataset) < 3:
        raise InputError(f"an odd one out needs 3 pictures, and {public_name(images)} has {len(dataset)}")
    number = num_participants // repeats * trials
    wanted = _wanted(dataset, triplets, number, vice, seed)
    questions = _questions(dataset, catch, catch_trials + practice_trials, wanted, seed)
    kinds = _kinds(wanted, questions, catch_trials, practice_trials)
    plan = StudyPlan(
        public_name(images),
        len(dataset),
        len(np.unique(np.concatenate([some.triplets.ravel() for some in kinds.values()]))),
        num_participants,
        trials,
        repeats,
        len(kinds[CATCH]),
        len(kinds[PRACTICE]),
        {str(level): int((wanted.levels == level).sum()) for level in dict.fromkeys(wanted.levels)},
        seed,
    )
    settings = StudySettings(plan)
    told = describe_plan(plan, settings.protocol, pay_per_hour)
    if not dry_run:
        with output_folder(folder, MAKER, "study"):
            _check_no_answers(folder)
            _write(folder, settings, dataset, kinds, picture_edge, progress)
    return told


def _check_no_answers(folder: Path) -> None:
    """Raises an InputError if answers would be lost."""
    if (folder / DATABASE_FILE).is_file():
        connection = connect(folder)
        number = num_answers(connection)
        connection.close()
        if number:
            raise InputError(f"{folder} holds a study with {number} answers: give another `study` folder")


def _wanted(images: Dataset, path: str | None, number: int, vice: str | None, seed: int) -> StudyTriplets:
    if path is None:
        fitted = Vice.from_pretrained(vice) if vice is not None else None
        return draw_triplets(images, number, fitted, seed)
    if vice is not None:
        raise InputError("give `triplets`, or a `vice` that chooses them")
    given = read_study_triplets(path, images)
    if len(given) < number:
        raise InputError(
            f"{path} has {len(given)} different triplets, and the study needs {number}: give more of them, or more "
            "`repeats`, or fewer `trials`"
        )
    if len(given) > number:
        logger.warning("the study needs %d of the %d triplets; the others are left out", number, len(given))
    return given[np.sort(np.random.default_rng(seed).permutation(len(given))[:number])]


def _questions(images: Dataset, path: str | None, number: int, wanted: StudyTriplets, seed: int) -> StudyTriplets:
    """Triplets with a right answer, none of them one to judge."""
    if path is None:
        found = draw_questions(images, number, wanted, seed + 100)
        if number and not len(found):
            logger.warning("no classes and no `catch`: the study has no catch trials, and practice without feedback")
        return found
    found = without(read_study_triplets(path, images, needs_odd=True), wanted)
    if len(found) < number:
        raise InputError(
            f"{path} has {len(found)} triplets with a right answer that are not to be judged, and catch trials and "
            f"practice need {number}: give more, or fewer `catch_trials` or `practice_trials`"
        )
    return found[:number]


def _kinds(
    wanted: StudyTriplets, questions: StudyTriplets, num_catch: int, num_practice: int
) -> dict[str, StudyTriplets]:
    catch, practice = questions[:num_catch], questions[num_catch:]
    if not len(questions):  # practice shows other triplets only by chance; the first ones do
        practice = StudyTriplets.of(wanted.triplets[:num_practice])
    elif len(catch) < num_catch:
        raise InputError(f"the classes allow {len(questions)} catch trials: give fewer `catch_trials`, or `catch`")
    return {TRIAL: wanted, CATCH: catch, PRACTICE: practice}


def _write(
    folder: Path,
    settings: StudySettings,
    images: Dataset,
    kinds: dict[str, StudyTriplets],
    edge: int,
    progress: bool,
) -> None:
    plan = settings.plan
    for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", SETTINGS_FILE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PICTURES, ignore_errors=True)
    rng = np.random.default_rng(plan.seed)
    blocks = blocks_of(kinds[TRIAL].levels, plan.num_participants // plan.repeats, rng)
    questions = len(kinds[TRIAL]) + np.arange(len(kinds[CATCH]) + len(kinds[PRACTICE]))
    catch, practice = np.split(questions, [len(kinds[CATCH])])
    sets = trial_sets_of(blocks, plan.repeats, catch, practice, rng)
    sets = [sets[i] for i in rng.permutation(len(sets))]  # so that neighbours in time share no block
    shown = np.unique(np.concatenate([some.triplets.ravel() for some in kinds.values()])).tolist()
    write_pictures(folder, images, shown, edge, progress)
    create_database(folder, settings, image_names(images), kinds, sets)
    write_text(folder / SETTINGS_FILE, settings.text())


def describe_plan(plan: StudyPlan, protocol: StudyProtocol, pay_per_hour: float) -> str:
    """The plan in words: trials, minutes, costs, and how exactly a model's accuracy will be known."""
    minutes = expected_minutes(plan, protocol)
    pay = minutes / 60 * pay_per_hour
    lines = [
        f"{plan.num_participants} participants, each with {plan.practice_trials} practice trials, "
        f"{plan.trials} trials "
        f"and {plan.catch_trials} catch trials",
        f"{plan.num_triplets} triplets of {plan.num_pictures} pictures, each judged by {plan.repeats} people: "
        f"{plan.num_participants * plan.trials} answers",
        f"about {minutes:.0f} minutes a participant ({RESPONSE:g} s an answer), {pay:.2f} at {pay_per_hour:g} an "
        f"hour, {pay * plan.num_participants:.0f} for all",
        f"a model's accuracy of {SUPPOSED_ACCURACY:g} will have this 95 % interval over triplets (over pictures it is "
        "wider):",
    ]
    levels = {**plan.levels, **({"together": plan.num_triplets} if NO_LEVEL not in plan.levels else {})}
    table = pd.DataFrame(
        [
            {"level": level, "triplets": number, "low": low, "high": high}
            for level, number in levels.items()
            for low, high in [wilson_interval(SUPPOSED_ACCURACY, number)]
        ]
    )
    return "\n".join([*lines, table.to_string(index=False, float_format="%.3f")])


def expected_minutes(plan: StudyPlan, protocol: StudyProtocol) -> float:
    """Of a participant, with reading and pauses."""
    pauses = sum(number < plan.trials + plan.catch_trials for number in protocol.pauses_after)
    return READING + PAUSE * pauses + plan.places * (protocol.fixation + max(RESPONSE, protocol.earliest)) / 60
