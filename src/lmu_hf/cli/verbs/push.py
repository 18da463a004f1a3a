"""Lay out a finished run for the Hub and, only if told to, push it as one commit.

    lmu-hf push runs/psmnist-perm0-seed0                        # dry: writes runs/…/hub/ and lists it
    lmu-hf push runs/psmnist-perm0-seed0 --push --repo_id org/lmu-psmnist
    lmu-hf push RUN --push --repo_id org/name --private --revision tuned --create_pr

The access token is taken from HF_TOKEN or from what `hf auth login` left; no flag takes it, so that it stands in no
command line and in no record. A push that is cut off leaves the repository as it was; the same command again ends in
the same commit. Pushing another run to the same repository keeps the results of the earlier ones in the card.
"""

import argparse
from pathlib import Path

from ..flags import ScriptParser, manual_of


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "push")
    parser.add_argument("run", type=Path, nargs="?", help="finished run folder")
    output = parser.group("output")
    output.add_argument(
        "--push", action="store_true", help="push what is laid out in the run's hub/ (default: only lay it out)"
    )
    output.add_argument("--repo_id", help="repository on the Hub, as org/name (default: none, needed to push)")
    output.add_argument(
        "--private", action="store_true", help="make the repository private if it has to be created (default: public)"
    )
    output.add_argument("--revision", help="branch to push to (default: main)")
    output.add_argument(
        "--create_pr", action="store_true", help="open a pull request in place of a commit on the branch"
    )
    output.add_argument(
        "--no_example",
        action="store_true",
        help="keep the row of your data that the card shows as an example out of all that is sent (default: show it)",
    )
    output.add_argument(
        "--cards",
        type=Path,
        nargs=2,
        metavar=("RECORDS", "CARDS"),
        help="write a card for every model of a folder of records, and do nothing else (default: not)",
    )
    output.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --cards: models to write the cards of, named as their files (default: every one)",
    )
    args = parser.parse_args(argv)
    if (args.run is None) == (args.cards is None):
        parser.error("give a run folder, or --cards")
    if args.only and args.cards is None:
        parser.error("--only names cards, and needs --cards")
    if args.push and not args.repo_id:
        parser.error("--push needs --repo_id org/name")
    if not args.push and (args.private or args.revision or args.create_pr):
        parser.error("--private, --revision and --create_pr mean nothing without --push")
    return args


def start(args: argparse.Namespace) -> None:
    """Write the folder, list it, and push it if told."""
    from ...hub.card import write_cards
    from ...hub.folder import build, files_of
    from ...hub.push import push
    from ...hub.records import own_record

    if args.cards:
        records, cards = args.cards
        for path in write_cards(records, cards, args.only):
            print(path)
    elif args.push:
        more = {"revision": args.revision, "create_pr": args.create_pr, "example": not args.no_example}
        commit = push(args.run, args.repo_id, private=args.private, **more)
        print(commit.pr_url or commit.commit_url)
    else:
        folder = build(args.run, args.repo_id, example=not args.no_example)
        for name, path in files_of(folder).items():
            print(f"{path.stat().st_size:>12,}  {name}")
        if not args.no_example and (example := own_record(args.run).data.get("example")) is not None:
            print(f"the card and run.json show a row of the data, {example!r}: --no_example leaves it out")
        print(f"{folder}: this is what --push --repo_id org/name would send, as one commit")
