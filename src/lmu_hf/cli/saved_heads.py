"""Which verb a saved model is for, by the class in its config: under another class its head would be drawn anew."""

from transformers import AutoConfig

from ..common.errors import loading

# How the name of a class ends → what such a model is for. The first that fits counts.
USES = {
    "ForConditionalGeneration": "lmu-hf generate translates with it",
    "ForCausalLM": "lmu-hf generate writes with it",
    "ForTimeSeriesPrediction": "lmu-hf forecast continues a series with it",
    "ForTokenClassification": 'pipeline("token-classification") tags words with it',
    "Classification": "lmu-hf label labels rows with it",
}


def saved_head(name: str) -> str:
    """The class that a saved model's config names; empty where it names none.

    Raises:
        InputError: the config cannot be loaded.
    """
    with loading("model", name):
        classes = AutoConfig.from_pretrained(name).architectures
    return classes[0] if classes else ""


def check_head(name: str, wanted: str, fits: bool, head: str) -> None:
    """Refuse a saved model of another kind.

    Args:
        name: folder or Hub name.
        wanted: the kind that is needed, with its article.
        fits: whether it is of that kind.
        head: the class that its config names.

    Raises:
        ValueError: it is not; the message says what the model is for.
    """
    if not fits:
        use = next((f": {use}" for ending, use in USES.items() if head.endswith(ending)), "")
        raise ValueError(f"{name} is an {head}, not {wanted}{use}")


def check_classifier(name: str) -> None:
    """Refuse a saved model that gives no class, or number, for a row as a whole.

    Raises:
        InputError: its config cannot be loaded.
        ValueError: it is one.
    """
    head = saved_head(name)
    whole = head.endswith("Classification") and not head.endswith("TokenClassification")
    check_head(name, "a classifier", not head or whole, head)
