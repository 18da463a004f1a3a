"""Looks for tokens, keys and passwords in everything that a push would send, by the patterns of detect-secrets."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import BasePlugin, RegexBasedDetector
from detect_secrets.plugins.ip_public import IPPublicDetector
from detect_secrets.plugins.keyword import KeywordDetector
from PIL import Image
from safetensors import safe_open

from ..common.places import TOKEN

VERSION = re.compile(r'"\d+(\.\w+)+(\+\w+)?"')  # a package may be called detect-secrets: its version is no secret
LEARNED = ("tokenizer.json",)  # a vocabulary holds words such as "password" beside any other words


class HubTokenDetector(RegexBasedDetector):
    """An access token of the Hub, which detect-secrets does not know."""

    secret_type = "access token of the Hub"
    denylist = [TOKEN]


def refuse_secrets(files: dict[str, Path]) -> None:
    """Look through files, by their paths in a repository.

    Raises:
        ValueError: one holds what looks like a secret; its name is in the message, the secret is not.
    """
    for name, path in files.items():
        words = "\n".join(_texts(path))
        # Code is full of names such as token and password, which the detector of keywords would take for secrets.
        detectors = (*_patterns(), *([] if name in LEARNED or path.suffix == ".py" else [KeywordDetector()]))
        for detector in detectors:
            # The detector of keywords ends at its first find, and reads one line at a time.
            lines = VERSION.sub('""', words).splitlines() if isinstance(detector, KeywordDetector) else [words]
            if any(next(iter(detector.analyze_string(line)), None) for line in lines):
                kind = str(detector.secret_type)
                article = "an" if kind[0] in "AEIOaeio" else "a"
                raise ValueError(f"{name} holds what looks like {article} {kind}: nothing is pushed; take it out")


@cache
def _patterns() -> tuple[BasePlugin, ...]:
    """All detectors that know the form of a secret. Those of entropy would take hashes and vocabularies for one."""
    found: Mapping[str, type[BasePlugin]] = get_mapping_from_secret_type_to_class()
    kinds = (found[name] for name in sorted(found))
    # A version of four numbers looks like a public address.
    known = (kind() for kind in kinds if issubclass(kind, RegexBasedDetector) and kind is not IPPublicDetector)
    return HubTokenDetector(), *known


def _texts(path: Path) -> Iterator[str]:
    """The text that a file holds: of weights and pictures, what is written beside the numbers."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as weights:
            yield from (weights.metadata() or {}).values()
            yield from weights.keys()
        return
    if path.suffix == ".png":
        with Image.open(path) as picture:
            yield from (str(value) for value in picture.info.values())
        return
    raw = path.read_text(encoding="utf-8")
    yield raw
    if path.suffix in (".json", ".jsonl"):  # a line break is written \n there, so that what follows begins no word
        for document in [raw] if path.suffix == ".json" else raw.splitlines():
            yield from _strings(json.loads(document))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value
