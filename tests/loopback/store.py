"""What a Hub on loopback holds, and how it answers each request."""

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import quote, unquote

from .faults import Fault

LARGE = (".safetensors", ".png", ".bin", ".pt")
CONTROL = "/_loopback/"


@dataclass(frozen=True)
class Blob:
    """A file's content, as git names it and, if it is large, as LFS does."""

    data: bytes
    large: bool

    @property
    def sha256(self) -> str:
        """LFS's name for it."""
        return sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """Git's name for it, or for the pointer that stands in its place."""
        data = self.data
        if self.large:
            lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(data)}")
            data = "".join(f"{line}\n" for line in lines).encode()
        return sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        """What a download is known by."""
        return self.sha256 if self.large else self.oid


@dataclass(frozen=True)
class Commit:
    """A whole revision and where it came from."""

    files: dict[str, Blob]
    title: str
    parent: str | None

    @property
    def oid(self) -> str:
        """A name that follows from content, title and history, as git's does."""
        tree = sorted((path, blob.oid) for path, blob in self.files.items())
        return sha1(json.dumps([tree, self.title, self.parent]).encode()).hexdigest()


@dataclass
class Repository:
    """Commits, and the branches and pull requests that point to them."""

    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def add(self, ref: str, commit: Commit) -> str:
        """Make a commit, and move a branch to it in one step."""
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit.oid

    def find(self, revision: str) -> tuple[str, Commit]:
        """The commit that a branch or an id names."""
        oid = self.refs.get(revision, revision)
        if oid not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid, self.commits[oid]


class HubError(Exception):
    """A reply that says no."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}


@dataclass
class Reply:
    """What goes back."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> "Reply":
        """As JSON."""
        return cls(json.dumps(value).encode(), status, {"Content-Type": "application/json"})


@dataclass
class Call:
    """A request, read and taken apart."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes
    base: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Store:
    """All repositories, and the requests that they answer."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[tuple[str, str], bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        repo, rev = r"(?P<repo>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
        self.routes: list[tuple[str, re.Pattern[str], Callable[..., Reply]]] = [
            (method, re.compile(pattern + "$"), answer)
            for method, pattern, answer in (
                ("POST", "/api/repos/create", self.create),
                ("POST", "/api/validate-yaml", lambda call: Reply.of({"warnings": [], "errors": []})),
                ("GET", f"/api/models/{repo}", self.info),
                ("GET", f"/api/models/{repo}/revision/{rev}", self.info),
                ("GET", f"/api/models/{repo}/refs", self.list_refs),
                ("GET", f"/api/models/{repo}/commits/{rev}", self.history),
                ("GET", f"/api/models/{repo}/tree/{rev}(?:/(?P<below>.+))?", self.tree),
                ("POST", f"/api/models/{repo}/branch/{rev}", self.branch),
                ("POST", f"/api/models/{repo}/preupload/{rev}", self.preupload),
                ("POST", f"/api/models/{repo}/commit/{rev}", self.commit),
                ("POST", f"/{repo}.git/info/lfs/objects/batch", self.batch),
                ("PUT", f"/_lfs/{repo}/(?P<oid>[0-9a-f]+)", self.upload),
                ("GET|HEAD", f"/{repo}/resolve/{rev}/(?P<file>.+)", self.resolve),
                ("GET", f"{CONTROL}state", self.state),
                ("POST", f"{CONTROL}faults", self.set_faults),
            )
        ]

    def answer(self, call: Call) -> Reply:
        """Find who answers, and let them."""
        for methods, pattern, answer in self.routes:
            if call.method in methods.split("|") and (found := pattern.match(call.path)):
                words = {name: unquote(word) for name, word in found.groupdict().items() if word is not None}
                try:
                    with self.lock:
                        return answer(call, **words)
                except HubError as error:
                    reply = Reply.of({"error": error.message}, error.status)
                    reply.headers |= error.headers
                    return reply
        return Reply.of({"error": f"this Hub has no {call.method} {call.path}"}, 404)

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault that meets a request, counted."""
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times > 0 and fault.method in ("", method) and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def allowed(self, call: Call) -> bool:
        """Whether the call carries the token."""
        return call.headers.get("Authorization") == f"Bearer {self.token}"

    def open(self, call: Call, repo: str, write: bool = False) -> Repository:
        """A repository that the caller may see, and change if it wants to."""
        known = self.repositories.get(repo)
        if known is None or (known.private and not self.allowed(call)):
            # As on the Hub: who may not see it learns nothing about whether it is there.
            raise HubError(404 if self.allowed(call) else 401, "Repository not found", "RepoNotFound")
        if write and not self.allowed(call):
            raise HubError(401, "Invalid credentials in Authorization header")
        return known

    def create(self, call: Call) -> Reply:
        """``POST /api/repos/create``."""
        if not self.allowed(call):
            raise HubError(401, "Invalid credentials in Authorization header")
        name = f"{call.json.get('organization') or 'me'}/{call.json['name']}"
        there = name in self.repositories
        if not there:
            private = call.json.get("visibility") == "private" or bool(call.json.get("private"))
            self.repositories[name] = repository = Repository(private)
            repository.add("main", Commit({".gitattributes": Blob(b"", large=False)}, "initial commit", None))
        return Reply.of({"url": f"{call.base}/{name}"}, 409 if there else 200)

    def info(self, call: Call, repo: str, rev: str = "main") -> Reply:
        """What is known of a repository at a revision."""
        repository = self.open(call, repo)
        oid, commit = repository.find(rev)
        card = commit.files["README.md"].data.decode() if "README.md" in commit.files else ""
        said = {name: found[1] for name in ("pipeline_tag", "library_name")
                if (found := re.search(rf"^{name}: (\S+)$", card, re.MULTILINE))}  # fmt: skip
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        known = {"id": repo, "sha": oid, "private": repository.private, "siblings": siblings, "tags": []}
        return Reply.of(known | said)

    def list_refs(self, call: Call, repo: str) -> Reply:
        """Branches and pull requests."""
        refs = self.open(call, repo).refs
        parts: dict[str, list[dict]] = {"branches": [], "pullRequests": [], "tags": [], "converts": []}
        for name, oid in refs.items():
            whole = name if name.startswith("refs/") else f"refs/heads/{name}"
            kind = "pullRequests" if name.startswith("refs/pr/") else "branches"
            parts[kind].append({"name": name, "ref": whole, "targetCommit": oid})
        return Reply.of(parts)

    def history(self, call: Call, repo: str, rev: str) -> Reply:
        """Commits, the newest first."""
        repository, found = self.open(call, repo), []
        oid: str | None = repository.find(rev)[0]
        while oid is not None:
            commit = repository.commits[oid]
            row = {"id": oid, "title": commit.title, "message": "", "authors": [], "date": "2021-07-18T00:00:00.000Z"}
            found.append(row)
            oid = commit.parent
        return Reply.of(found)

    def tree(self, call: Call, repo: str, rev: str, below: str = "") -> Reply:
        """Files, all of them or those below a folder."""
        files = self.open(call, repo).find(rev)[1].files
        inside = {path: blob for path, blob in files.items() if not below or path.startswith(f"{below}/")}
        if below and not inside:
            raise HubError(404, f"{below} does not exist", "EntryNotFound")
        rows = []
        for path, blob in sorted(inside.items()):
            lfs = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
            row = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid}
            rows.append(row | ({"lfs": lfs} if blob.large else {}))
        return Reply.of(rows)

    def branch(self, call: Call, repo: str, rev: str) -> Reply:
        """A new branch."""
        repository = self.open(call, repo, write=True)
        if rev in repository.refs:
            raise HubError(409, f"Reference already exists: {rev}")
        start = (call.json if call.body else {}).get("startingPoint") or "main"
        repository.refs[rev] = repository.find(start)[0]
        return Reply()

    def preupload(self, call: Call, repo: str, rev: str) -> Reply:
        """How each file is to travel, and what stands in its place."""
        files = self.open(call, repo, write=True).find(rev)[1].files
        rows = []
        for asked in call.json["files"]:
            mode = "lfs" if asked["path"].endswith(LARGE) else "regular"
            there = files.get(asked["path"])
            oid = None if there is None else there.etag
            rows.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return Reply.of({"files": rows})

    def batch(self, call: Call, repo: str) -> Reply:
        """Where large files go; those that are already there need not."""
        self.open(call, repo, write=True)
        objects = []
        for asked in call.json["objects"]:
            href = f"{call.base}/_lfs/{quote(repo)}/{asked['oid']}"
            there = (repo, asked["oid"]) in self.uploads
            objects.append({**asked, **({} if there else {"actions": {"upload": {"href": href, "header": {}}}})})
        return Reply.of({"transfer": "basic", "objects": objects})

    def upload(self, call: Call, repo: str, oid: str) -> Reply:
        """A large file's bytes: kept only if they are what they are said to be."""
        if sha256(call.body).hexdigest() != oid:
            raise HubError(400, f"the bytes received are not those of {oid}")
        self.uploads[repo, oid] = call.body
        return Reply()

    def commit(self, call: Call, repo: str, rev: str) -> Reply:
        """All changes or none: everything is checked on a copy before a branch moves."""
        repository = self.open(call, repo, write=True)
        head, parent = repository.find(rev)
        lines = [json.loads(line) for line in call.body.splitlines()]
        header = next((line["value"] for line in lines if line["key"] == "header"), None)
        if header is None:
            raise HubError(400, "a commit needs a header")
        if header.get("parentCommit") not in (None, head):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(parent.files)
        for line in lines:
            self._apply(repo, files, line["key"], line["value"])
        ref, url = rev, None
        if call.query.get("create_pr") == ["1"]:
            number = 1 + sum(name.startswith("refs/pr/") for name in repository.refs)
            ref, url = f"refs/pr/{number}", f"{call.base}/{repo}/discussions/{number}"
        oid = repository.add(ref, Commit(files, header["summary"], head))
        return Reply.of({"commitUrl": f"{call.base}/{repo}/commit/{oid}", "commitOid": oid, "pullRequestUrl": url})

    def _apply(self, repo: str, files: dict[str, Blob], key: str, value: dict) -> None:
        if key == "file":
            try:
                files[value["path"]] = Blob(base64.b64decode(value["content"], validate=True), large=False)
            except binascii.Error as error:
                raise HubError(400, f"{value['path']} is not base64") from error
        elif key == "lfsFile":
            if (repo, value["oid"]) not in self.uploads:
                raise HubError(400, f"{value['path']}: LFS object {value['oid']} was never uploaded")
            files[value["path"]] = Blob(self.uploads[repo, value["oid"]], large=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubError(404, f"{value['path']}: A file with this name doesn't exist", "EntryNotFound")
        elif key != "header":
            raise HubError(400, f"this Hub knows no {key!r} in a commit")

    def resolve(self, call: Call, repo: str, rev: str, file: str) -> Reply:
        """A file's bytes, from some byte on if asked."""
        oid, commit = self.open(call, repo).find(rev)
        if file not in commit.files:
            raise HubError(404, f"{file} does not exist", "EntryNotFound", {"X-Repo-Commit": oid})
        blob = commit.files[file]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        if blob.large:
            headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data))}
        asked = re.match(r"bytes=(\d+)-$", call.headers.get("Range", ""))
        if asked is None:
            return Reply(blob.data, 200, headers)
        start, size = int(asked[1]), len(blob.data)
        return Reply(blob.data[start:], 206, headers | {"Content-Range": f"bytes {start}-{size - 1}/{size}"})

    def state(self, call: Call) -> Reply:
        """For tests: every revision's files and every request so far."""
        repositories = {
            name: {
                "private": repository.private,
                "commits": len(repository.commits),
                "refs": {
                    ref: {"oid": oid, "files": {p: b.sha256 for p, b in repository.commits[oid].files.items()}}
                    for ref, oid in repository.refs.items()
                },
            }
            for name, repository in self.repositories.items()
        }
        unmet = sum(fault.times for fault in self.faults)
        return Reply.of({"repositories": repositories, "requests": self.requests, "unmet": unmet})

    def set_faults(self, call: Call) -> Reply:
        """For tests: what goes wrong from now on."""
        self.faults = [Fault(**fault) for fault in call.json]
        return Reply()
