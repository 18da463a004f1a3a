"""Answer OpenAI's clients with a trained language model, by transformers' own server.

    lmu-hf serve runs/talk-seed0                            # http://localhost:8000/v1
    lmu-hf serve lmu-python-sources --port 8123             # a model in the box
    transformers chat MODEL http://localhost:8123           # in another terminal: MODEL as `lmu-hf serve` prints it

Chats (/v1/chat/completions), texts (/v1/completions) and responses (/v1/responses), whole or streamed. A model without
a chat template continues the text that a chat's turns make up. Answers are sampled; `temperature: 0` in a request takes
the likeliest tokens. The server knows no password: let it listen to other machines (--host) behind one that does.
"""

import argparse

from ..flags import SEED, ScriptParser, manual_of, number


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "serve")
    parser.add_argument("model_name_or_path", help="a run folder, a model's folder, its name on the Hub or in the box")
    output = parser.group("output")
    output.add_argument("--host", default="localhost", help="address that the server listens on (default: %(default)s)")
    output.add_argument(
        "--port",
        type=number(int, least=1, most=65535),
        default=8000,
        help="port that the server listens on (default: %(default)s)",
    )
    output.add_argument("--device", default="auto", help="device of the model, as cpu or cuda:0 (default: %(default)s)")
    output.add_argument("--seed", type=SEED, help="random seed of the sampling (default: another one at each start)")
    return parser.parse_args(argv)


def start(args: argparse.Namespace) -> None:
    """Load the model and answer until the process is ended."""
    from ..serving import serve

    return serve(args)
