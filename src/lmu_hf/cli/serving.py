"""transformers' own server, which otherwise looks for a model's class among its own."""

import argparse
import sys
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cli.serve import Serve
from transformers.cli.serving import model_manager

from ..common.errors import TOKENIZER, loading
from ..tokenization_lmu import continue_chats
from .writing import check_writer


class WriterManager(model_manager.ModelManager):
    """What the server loads models by: the family's language models, which always have a chat template."""

    def _load_processor(self, model_id_and_revision: str, gguf_file: str | None = None) -> Any:
        name, revision = model_manager.split_revision(model_id_and_revision)
        with loading("tokenizer", name, TOKENIZER):
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        if continue_chats(tokenizer):
            print(f"{name} has no chat template: it continues the text that all turns make up.", file=sys.stderr)
        return tokenizer

    def _load_model(self, model_id_and_revision: str, *how: Any, **more: Any) -> Any:
        name, revision = model_manager.split_revision(model_id_and_revision)
        with loading("model", name):
            model = AutoModelForCausalLM.from_pretrained(
                name, revision=revision, dtype=self.dtype, device_map=self.device
            ).eval()
        # A request's temperature is heard only by a model that samples; 0 makes the server take the likeliest token.
        model.generation_config.do_sample = True
        return model


def serve(args: argparse.Namespace) -> None:
    """Load the model and answer until the process is ended.

    Raises:
        InputError: the model or its tokenizer cannot be loaded.
        ValueError: it is no language model of the family.
    """
    name = args.model_name_or_path
    check_writer(name)
    print(f"model: {name!r}\nbase URL for OpenAI's clients: http://{args.host}:{args.port}/v1", file=sys.stderr)
    # `Serve` takes the class from its module at this very call; it has no argument for another one.
    model_manager.ModelManager = WriterManager  # type: ignore[misc]
    Serve(force_model=name, device=args.device, host=args.host, port=args.port, default_seed=args.seed)
