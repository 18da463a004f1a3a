"""A run folder becomes one commit on the Hub, whole or not at all."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ..common.places import TOKEN
from ..common.record import RunRecord
from ..common.staging import named_in_errors
from .folder import OWNED, build, files_of
from .records import checked, own_record, without_example

logger = logging.getLogger(__name__)
WAITS = (1.0, 4.0)  # seconds before the second and the third try
FAILURES = (HfHubHTTPError, httpx2.HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError)
# Status codes after which a second try may help: time-outs, conflicts, too many requests, a server that is down.
TRANSIENT = (408, 409, 429, 500, 502, 503, 504)


class PushError(OSError):
    """A push that came to nothing: the repository holds what it held. No access token is in the message."""


@dataclass(frozen=True)
class Remote:
    """What a repository holds at some commit.

    Args:
        commit: its id.
        files: their paths.
        record: of the run whose weights are there; None if there are none of ours.
        history: of the runs before that, the oldest first.
    """

    commit: str
    files: Sequence[str]
    record: RunRecord | None
    history: Sequence[RunRecord]

    def before(self, record: RunRecord) -> list[RunRecord]:
        """What a card must remember when a run is pushed: pushing the same run again adds nothing."""
        # The same run, whether its example is shown or not.
        if self.record is None or without_example(self.record) == without_example(record):
            return list(self.history)
        return [*self.history, self.record]


def push(
    run: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    example: bool = True,
    api: HfApi | None = None,
    waits: Sequence[float] = WAITS,
) -> CommitInfo:
    """Push a finished run as one commit, and check what the Hub then holds.

    The commit names its parent: if somebody else has pushed meanwhile, nothing is written over. A try that is cut off
    is begun anew; files that have arrived are not sent again, and the same run pushed twice makes no second commit.

    Args:
        run: a finished run folder.
        repo_id: ``org/name``; the repository is created if it is not there.
        private: of a repository that is created.
        revision: the branch; ``main`` if not given. It is created if it is not there.
        create_pr: open a pull request instead of moving the branch.
        example: show the row of the data that the record may hold, in the card and in ``run.json``.
        api: the client; with an endpoint and a token of its own, if it has them.
        waits: seconds before each further try.

    Raises:
        PushError: the Hub or the way to it failed, or somebody else pushed at the same time.
        FileNotFoundError: the run has not finished, or has no model.
        ValueError: the folder holds what is never pushed.
    """
    api = api or HfApi()
    # What is wrong with the folder itself is said before anything is asked of the Hub.
    build(run, repo_id, example=example)
    for attempt in range(len(waits) + 1):
        try:
            return _push_once(api, run, repo_id, private, revision, create_pr, example)
        except (*FAILURES, RuntimeError) as raised:
            # An upload that fails is wrapped by the client in a RuntimeError, which is no reason in itself.
            error = raised if isinstance(raised, FAILURES) else raised.__cause__
            if not isinstance(error, FAILURES):
                raise
            reason = _redact(api, _reason(error))
            if not _may_pass(error) or attempt == len(waits):
                # Without the client's own exception, whose request carries the token.
                raise PushError(f"{repo_id} was not changed: {reason}. {_advice(error)}") from None
            logger.warning("push to %s: %s; trying again in %g s", repo_id, reason, waits[attempt])
            time.sleep(waits[attempt])
    raise AssertionError("unreachable: the last try returns or raises")


def _push_once(
    api: HfApi, run: Path, repo_id: str, private: bool, revision: str | None, create_pr: bool, example: bool
) -> CommitInfo:
    api.create_repo(repo_id, private=private, exist_ok=True)
    # refs/pr/N belongs to a pull request and is no branch that could be made.
    if revision is not None and not revision.startswith("refs/"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    remote = read_remote(api, repo_id, revision)
    record = own_record(run)
    # Built a second time, now with the history that the card shows.
    folder = build(run, repo_id, remote.before(record), example)
    files = files_of(folder)
    stale = [path for path in remote.files if path not in files and _is_owned(path)]
    operations: list = [CommitOperationAdd(path, source) for path, source in files.items()]
    operations += [CommitOperationDelete(path) for path in stale]
    commit = api.create_commit(
        repo_id,
        operations,
        commit_message=f"{record.recipe}, seed {record.seed}",
        revision=revision,
        create_pr=create_pr,
        parent_commit=remote.commit,  # if somebody pushed since then, the Hub answers 412
    )
    _verify(api, repo_id, commit.oid, folder)
    return commit


def _is_owned(path: str) -> bool:
    """Whether a file of a repository is one that a push writes; those of other folders are somebody's own."""
    # The * of fnmatch crosses slashes; equal counts keep *.json from owning data/x.json.
    return any(fnmatchcase(path, mine) and path.count("/") == mine.count("/") for mine in OWNED)


def read_remote(api: HfApi, repo_id: str, revision: str | None = None) -> Remote:
    """What a repository holds now.

    Raises:
        PushError: it holds a record that is none.
    """
    info = api.model_info(repo_id, revision=revision)
    files = [sibling.rfilename for sibling in info.siblings or []]
    assert info.sha is not None
    records: dict[str, list[RunRecord]] = {"run.json": [], "history.json": []}
    # Not the user's cache: what is there now counts.
    with TemporaryDirectory() as fresh, named_in_errors(Path(fresh)):
        for name in sorted(set(records) & set(files)):
            try:
                path = Path(api.hf_hub_download(repo_id, name, revision=info.sha, cache_dir=fresh))
            # Many of these are OSErrors too, and are none of a file's length.
            except FAILURES:
                raise
            except OSError as error:  # what the client calls a file of the wrong length
                if error.errno is not None:  # the system says this, of a full disk perhaps: a second try is no use
                    raise
                raise ConnectionError(f"{name} did not arrive whole") from error
            records[name] = _read_records(path, f"{name} of {repo_id}")
    return Remote(info.sha, files, next(iter(records["run.json"]), None), records["history.json"])


def _read_records(path: Path, name: str) -> list[RunRecord]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [checked(RunRecord(**row), name) for row in (found if isinstance(found, list) else [found])]
    except (ValueError, TypeError, RecursionError) as error:
        raise PushError(f"{name} is no run record, and a push would lose its history: {error}") from None


def _verify(api: HfApi, repo_id: str, commit: str, folder: Path) -> None:
    found = api.verify_repo_checksums(repo_id, revision=commit, local_dir=folder)
    wrong = [mismatch["path"] for mismatch in found.mismatches] + found.extra_paths
    if wrong:
        raise PushError(f"{repo_id} took the commit {commit}, but not as it was sent: {', '.join(wrong)} differ")


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help: the line was cut, or the Hub is busy."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    return isinstance(error, FAILURES)


def _reason(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, error.server_message or error.response.reason_phrase
        return f"the Hub answered {status}, {said.strip().rstrip('.')!r}"
    said = " ".join(str(error).split())
    return f"the connection failed ({type(error).__name__}{': ' if said else ''}{said})"


def _advice(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 412:
        return "Somebody else pushed meanwhile; the same command again builds on what they pushed"
    if status in (401, 403, 404):
        return "Is the name right, and does the token (HF_TOKEN, or `hf auth login`) allow to write there?"
    return "The same command again goes on from there"


def _redact(api: HfApi, text: str) -> str:
    # Tokens in use first, which may have another form than the pattern knows.
    for token in (api.token, get_token()):
        if isinstance(token, str) and token:
            text = text.replace(token, "…")
    return TOKEN.sub("…", text)
