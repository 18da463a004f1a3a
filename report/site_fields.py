"""The fields of ``LMUConfig`` in groups, as tables: from its code and its docstring, when the site is built."""

import inspect
import re
from dataclasses import MISSING, Field, fields

from lmu_hf import LMUConfig, auto_lmu  # noqa: F401  # every option enters itself into OPTIONS as its module is loaded
from lmu_hf.fields_lmu import OPTIONS, Option
from lmu_hf.hub import markup
from site_docstrings import as_markdown

GROUPS = {
    "Input": ("vocab_size", "input_size", "embedding_size", "ngrams", "image_size", "permutation_seed"),
    "The memory": ("theta", "order", "memory_channels", "encoder", "readout", "discretization", "basis", "memory_form"),
    "Blocks": (
        *("block_type", "hidden_size", "num_hidden_layers", "hidden_act", "norm", "intermediate_size"),
        *("num_highway_layers", "deep_representations", "bidirectional"),
    ),
    "Heads": ("pooling", "head_hidden_size", "output_size", "pair_features", "alignment", "votes", "forecast"),
    "Encoder and decoder": (
        *("is_encoder_decoder", "num_decoder_layers", "decoder_theta", "num_attention_heads", "attention_dropout"),
    ),
    "Regularisation": ("embedding_dropout", "hidden_dropout", "classifier_dropout", "label_smoothing"),
    "Initial weights": ("initializer_range", "residual_initializer_scale"),
    "Tokens and cache": (
        *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "tie_word_embeddings"),
        "use_cache",
    ),
}
# Fields of transformers that the docstring of LMUConfig does not repeat, with LMUConfig's own defaults.
INHERITED = {
    "pad_token_id": ("`int`", "id of the padding token"),
    "bos_token_id": ("`int`", "id of the token that begins a text"),
    "eos_token_id": ("`int` or a list of them", "ids of the tokens that end a text"),
    "decoder_start_token_id": ("`int`", "id of the token that a decoder starts from"),
    "tie_word_embeddings": ("`bool`", "the head of a language model shares the matrix of the embeddings"),
}
ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*)(?: \((?P<kind>.*?)\))?: (?P<text>.*)$")


def fields_in_groups() -> str:
    """A heading and a table for each group of fields, and for each option's record.

    Raises:
        ValueError: a field of the config is in no group, or a group names one that there is not.
    """
    told = arguments(LMUConfig) | INHERITED
    own = {field.name: field for field in fields(LMUConfig) if field.name in told}
    grouped = [name for names in GROUPS.values() for name in names]
    if different := set(own) ^ set(grouped):
        raise ValueError(f"GROUPS of {__file__} must name each field of LMUConfig once: {sorted(different)}")
    parts = []
    for title, names in GROUPS.items():
        rows = [[markup.code(name), told[name][0], _default(own[name]), told[name][1]] for name in names]
        parts += [f"## {title}", markup.table(["field", "type", "default", "what it sets"], rows)]
    for name, option in sorted(OPTIONS.items()):
        parts += [f"## Entries of `{name}`", _entries(option)]
    return "\n\n".join(parts)


def arguments(kind: type) -> dict[str, tuple[str, str]]:
    """What the docstring of a class says of each argument: its type, as far as it is told, and what it is."""
    section = re.split(r"^Args:\n", inspect.getdoc(kind) or "", flags=re.MULTILINE)[1]
    section = re.split(r"^\S", section, flags=re.MULTILINE)[0]  # up to the next section
    found = {}
    for entry in re.split(r"\n(?=    \S)", section.rstrip()):
        match = ENTRY.match(" ".join(entry.split()))
        if match is None:
            raise ValueError(f"the docstring of {kind.__name__} has an argument without a name: {entry.strip()}")
        for name in match["names"].split(", "):
            found[name] = (match["kind"] or "").split(", ")[0], as_markdown(match["text"]).removesuffix(".")
    return found


def _entries(option: type[Option]) -> str:
    told = arguments(option)
    rows = [[markup.code(f.name), _kind(f), _default(f), told[f.name][1]] for f in fields(option)]
    return markup.table(["entry", "type", "default", "what it sets"], rows)


def _kind(field: Field) -> str:
    return markup.code(getattr(field.type, "__name__", field.type) if "[" not in str(field.type) else field.type)


def _default(field: Field) -> str:
    if field.default is MISSING and field.default_factory is MISSING:
        return "needed"
    value = field.default if field.default_factory is MISSING else field.default_factory()
    return markup.code(repr(list(value) if isinstance(value, tuple) else value))
