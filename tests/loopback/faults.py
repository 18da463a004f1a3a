"""What can go wrong between a client and a Hub."""

from dataclasses import dataclass, field

FAULTS = ("status", "reset", "lost", "slow", "truncate", "short", "etag")


@dataclass
class Fault:
    """What goes wrong with the next requests that match.

    Args:
        kind: ``"status"``: an error reply. ``"reset"``: the connection is reset after so many bytes of the request's
            body, or of the reply's where the request has none. ``"lost"``: the request is served, its reply is not
            sent. ``"slow"``: a reply after so many seconds. ``"truncate"``: the connection ends after so many bytes of
            the reply. ``"short"``: the reply says that it is only so many bytes long. ``"etag"``: a wrong ETag.
        path: a regular expression, searched in the request's path.
        method: of the request; any if empty.
        times: how many requests it meets.
        status: of the reply.
        after: so many bytes.
        seconds: so many seconds.
        headers: of the error reply.
        echo: the error reply repeats the request's Authorization header, as a careless proxy might.
    """

    kind: str
    path: str = ""
    method: str = ""
    times: int = 1
    status: int = 500
    after: int = 0
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    echo: bool = False

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"kind must be one of {FAULTS}, got {self.kind!r}")
