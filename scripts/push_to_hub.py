"""Lay out a finished run for the Hub and, only if told to, push it as one commit.

    python scripts/push_to_hub.py runs/psmnist-perm0-seed0                       # dry: writes runs/…/hub/ and lists it
    python scripts/push_to_hub.py runs/psmnist-perm0-seed0 --push --repo_id org/lmu-psmnist
    python scripts/push_to_hub.py RUN --push --repo_id org/name --private --revision tuned --create_pr
    python scripts/push_to_hub.py --cards records model_cards                    # what `make card` runs

The access token is taken from HF_TOKEN or from what `hf auth login` left; no flag takes it, so that it stands in no
command line and in no record. A push that is cut off leaves the repository as it was; the same command again ends in
the same commit. Pushing another run to the same repository keeps the results of the earlier ones in the card.
"""

import argparse
from pathlib import Path

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.hub.card import write_cards
from lmu_hf.hub.folder import build, files_of
from lmu_hf.hub.push import push


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="finished run folder")
    parser.add_argument(
        "--push", action="store_true", help="push what is laid out in the run's hub/ (default: only lay it out)"
    )
    parser.add_argument("--repo_id", help="repository on the Hub, as org/name (default: none, needed to push)")
    parser.add_argument(
        "--private", action="store_true", help="make the repository private if it has to be created (default: public)"
    )
    parser.add_argument("--revision", help="branch to push to (default: main)")
    parser.add_argument(
        "--create_pr", action="store_true", help="open a pull request in place of a commit on the branch"
    )
    parser.add_argument(
        "--cards",
        type=Path,
        nargs=2,
        metavar=("RECORDS", "CARDS"),
        help="write a card for every model of a folder of records, and do nothing else (default: not)",
    )
    args = parser.parse_args(argv)
    if (args.run is None) == (args.cards is None):
        parser.error("give a run folder, or --cards")
    if args.push and not args.repo_id:
        parser.error("--push needs --repo_id org/name")
    if not args.push and (args.private or args.revision or args.create_pr):
        parser.error("--private, --revision and --create_pr mean nothing without --push")
    return args


@script
def main(argv: list[str] | None = None) -> None:
    """Write the folder, list it, and push it if told."""
    args = parse_args(argv)
    if args.cards:
        for path in write_cards(*args.cards):
            print(path)
    elif args.push:
        commit = push(args.run, args.repo_id, private=args.private, revision=args.revision, create_pr=args.create_pr)
        print(commit.pr_url or commit.commit_url)
    else:
        folder = build(args.run, args.repo_id)
        for name, path in files_of(folder).items():
            print(f"{path.stat().st_size:>12,}  {name}")
        print(f"{folder}: this is what --push --repo_id org/name would send, as one commit")


if __name__ == "__main__":
    main()
