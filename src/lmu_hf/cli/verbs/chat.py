r"""Chat with a trained language model in the terminal; it carries its memories from turn to turn.

    lmu-hf chat runs/talk-seed0                     # a model that was fine-tuned on chats, with a chat template
    lmu-hf chat                                     # a model in the box: it continues what you type
    printf 'up?\nleft?\n' | lmu-hf chat MODEL       # one line a turn, answers to standard output

Each turn reads what is new since the turn before and nothing else, however long the chat has become. The turns are
written by the tokenizer's chat template; a model without one continues the text that all turns make up. `/clear` begins
a new chat; `/exit`, or the end of the input, ends it.
"""

import argparse

from ..flags import COUNT, ScriptParser, manual_of
from ..writing_flags import add_sampling, add_writer, parse_writing


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "chat")
    add_writer(parser)
    output = parser.group("output")
    output.add_argument("--system_prompt", help="text of a system turn that the chat begins with (default: none)")
    output.add_argument(
        "--max_new_tokens", type=COUNT, default=256, help="largest number of tokens of an answer (default: %(default)s)"
    )
    add_sampling(parser)
    return parse_writing(parser, argv)


def start(args: argparse.Namespace) -> None:
    """Read turns and answer them until the input ends."""
    from ..chatting import chat

    return chat(args)
