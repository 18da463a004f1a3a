"""Search for the hyper-parameters of a training verb: runs with other settings, of which validation chooses one.

    lmu-hf tune text                                                   # no download: made-up opinions
    lmu-hf tune text --train_file reviews.csv --text_column review --label_column stars --trials 20 --minutes 30
    lmu-hf tune lm --train_file notes.txt --search learning_rate=1e-4..1e-2 hidden_size=64,128,256
    lmu-hf tune series --train_file steps.csv --config_overrides pooling=mean_max

The first word says which verb: text, lm, translation, tokens, image, audio, forecast or series. Every flag of that verb
is taken too and holds for all trials; `lmu-hf train text --help_all` shows them. Searched are learning rate, weight
decay, batch size, epochs or steps, dropouts, theta and order, around the recipe's own values, which are the first
trial. What a flag sets is not searched. --search names other fields in their place: flags of the recipe, such as
per_device_train_batch_size, and fields of LMUConfig. A range is searched on a logarithmic scale, and on a linear one
if it begins at 0; one whose ends are written as whole numbers is searched in whole numbers.

A trial is an ordinary run with --skip_test. It is stopped at an evaluation at which it is worse than the median of the
trials before it. The study is kept as it grows: the same command goes on with a search that has ended early, and a
trial that was under way counts as failed. When all trials have ended, the best one on validation becomes best/, whose
test is read, once. After that the search is over.

A folder is written (--output_dir, default runs/NAME-tuned): study.sqlite3 as optuna has it, trials/, trials.csv,
log.txt, and best/, a run folder like any other.
"""

import argparse
import re
import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..command import VERBS
from ..data_flags import KIND_FLAGS
from ..flags import COUNT, POSITIVE, ScriptParser, manual_of
from ..search_space import LENGTHS, search_field
from ..training_flags import RECIPE_FLAGS, RUN_FLAGS

if TYPE_CHECKING:
    from ...common.record import RunRecord

KINDS = ("text", "lm", "translation", "tokens", "image", "audio", "forecast", "series")
TRIALS = 20
FLAG = re.compile(r"--?[A-Za-z]")  # and not a negative number


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The flags of the training verb, with those of the search beside them."""
    parser = _parser(manual)
    own, others = split_words(list(sys.argv[1:] if argv is None else argv), {*parser._option_string_actions})
    kind, words = _first(others)
    asked = parser.parse_args([*([] if kind is None else [kind]), *own])
    _check(parser, asked, words)
    # The recipe's own budget of minutes is a trial's; the search has one of its own.
    words += [] if asked.trial_minutes is None else ["--minutes", f"{asked.trial_minutes:g}"]
    args = import_module(f".{VERBS[f'train {asked.kind}'].module}", __package__).parse_args(words)
    args.words, args.kind, args.output_dir, args.skip_test = words, asked.kind, asked.output_dir, asked.skip_test
    args.trials, args.search_minutes, args.overwrite = asked.trials, asked.minutes, asked.overwrite_output_dir
    args.search = dict(asked.search or [])
    _check_settled(parser, args)
    return args


def _parser(manual: str | None) -> ScriptParser:
    parser = ScriptParser(manual_of(__doc__, manual), "tune")
    parser.add_argument("kind", choices=KINDS, help="the training verb whose settings are searched")
    training, output = parser.group("training"), parser.group("output")
    text = "trials of the whole search, failed and stopped ones included (default: %(default)s)"
    training.add_argument("--trials", type=COUNT, default=TRIALS, help=text)
    text = "time of the whole search: no trial begins that would end later, by the mean length so far (default: none)"
    training.add_argument("--minutes", type=POSITIVE, help=text)
    text = "time that one trial keeps to: --minutes of the training verb (default: that verb's)"
    training.add_argument("--trial_minutes", type=POSITIVE, help=text)
    text = "fields to search, in place of the default ones, as FIELD=LOW..HIGH or FIELD=a,b,c (default: see above)"
    training.add_argument("--search", type=search_field, nargs="+", metavar="FIELD=VALUES", help=text)
    training.add_argument("--skip_test", action="store_true", help="leave the test split unread by the best trial too")
    text = "folder to write, or to go on in (default: as the manual above says)"
    output.add_argument("--output_dir", type=Path, help=text)
    text = "delete an earlier search in the folder, and begin anew"
    output.add_argument("--overwrite_output_dir", action="store_true", help=text)
    return parser


def split_words(words: list[str], names: set[str]) -> tuple[list[str], list[str]]:
    """The words of some flags with their values, and all other words.

    A flag's values end where the next flag begins: the verbs have no arguments without a flag that could follow.
    """
    own: list[str] = []
    others: list[str] = []
    mine = False
    for word in words:
        if FLAG.match(word):
            mine = word.partition("=")[0] in names
        (own if mine else others).append(word)
    return own, others


def _first(words: list[str]) -> tuple[str | None, list[str]]:
    """The kind, which comes first, and the words behind it."""
    return (words[0], words[1:]) if words and not FLAG.match(words[0]) else (None, words)


def _check(parser: ScriptParser, asked: argparse.Namespace, words: list[str]) -> None:
    """End with one line where a flag of the search is misspelt or would say nothing."""
    data = KIND_FLAGS[VERBS[f"train {asked.kind}"].kind or ""]
    known = {*data, *(flag for flag, *_ in RECIPE_FLAGS), *(flag for group in RUN_FLAGS.values() for flag in group)}
    for word in words:
        name = word.partition("=")[0]
        # Of the training verb's parser a misspelt flag of the search would get no suggestion.
        unknown = FLAG.match(word) and name.removeprefix("--") not in known
        if unknown and get_close_matches(name, parser._option_string_actions, n=1, cutoff=0.8):
            parser.error(f"unrecognized arguments: {word}")
        if name == "--resume_from_checkpoint":
            parser.error("--resume_from_checkpoint has no effect here: a search goes on by itself in its --output_dir")
    if asked.trial_minutes is not None and "minutes" not in data:
        parser.error(f"--trial_minutes has no effect here: `lmu-hf train {asked.kind}` has no --minutes")
    names = [name for name, _ in asked.search or []]
    if twice := next((name for name in names if names.count(name) > 1), None):
        parser.error(f"--search names {twice} twice")
    if set(LENGTHS) <= set(names):
        parser.error(f"--search takes only one of {' and '.join(LENGTHS)}")


def _check_settled(parser: ScriptParser, args: argparse.Namespace) -> None:
    """End with one line where a field is both set and searched."""
    overrides = {text.partition("=")[0] for text in args.config_overrides}
    for name in args.search:
        if name in overrides or name in args.given:
            flag = "--config_overrides" if name in overrides else f"--{name}"
            parser.error(f"{flag} sets {name}, and --search searches it: give only one")
        if name in LENGTHS and (given := set(LENGTHS) & args.given):
            parser.error(f"--search {name} and --{min(given)} both set the length of a run: give only one")


def start(args: argparse.Namespace) -> "RunRecord":
    """Search, train, and print the best trial; its record."""
    from ..extras import check_extra

    for extra in VERBS[f"train {args.kind}"].extras:  # sounds need one of their own
        check_extra(extra)
    from ..searching import tune

    return tune(args)
