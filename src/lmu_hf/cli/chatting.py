"""A chat in the terminal, whose memory is carried from turn to turn."""

import argparse
import sys
from collections.abc import Iterator

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase, TextStreamer

from ..modeling_lmu import LMUForCausalLM
from ..tokenization_lmu import continue_chats
from .writing import load_writer

CLEAR, EXIT = "/clear", "/exit"


class Talk:
    """A chat with a model that reads every turn once.

    Args:
        model: a language model.
        tokenizer: with a chat template.
        system_prompt: what a system turn says, if there is one.
    """

    def __init__(
        self, model: LMUForCausalLM, tokenizer: PreTrainedTokenizerBase, system_prompt: str | None = None
    ) -> None:
        self.model, self.tokenizer, self.system_prompt = model, tokenizer, system_prompt
        self.clear()

    def clear(self) -> None:
        """Begin a new chat."""
        self.turns: list[dict[str, str]] = []
        if self.system_prompt is not None:
            self.turns.append({"role": "system", "content": self.system_prompt})
        self._forget()

    def _forget(self) -> None:
        # `_read` is the text that the memories hold, but for `_unread`: a stream's last token is not read yet.
        self.memories = DynamicCache(config=self.model.config)
        self._read, self._unread = "", list[int]()

    def ask(self, text: str, new_tokens: int, temperature: float, top_k: int | None, generator: torch.Generator | None):
        """The answer to one more turn, token by token.

        Raises:
            ValueError: the turn adds no token to the chat.
        """
        self.turns.append({"role": "user", "content": text})
        chat = str(self.tokenizer.apply_chat_template(self.turns, tokenize=False, add_generation_prompt=True))
        if not chat.startswith(self._read):
            print("(the chat template has rewritten earlier turns: all is read again)", file=sys.stderr)
            self._forget()
        new = self.tokenizer(chat[len(self._read) :], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([*self._unread, *new], dtype=torch.int64)
        if not len(ids):
            raise ValueError("there is nothing to answer: type at least one character")
        answer: list[int] = []
        for token in self.model.stream(ids, new_tokens, temperature, top_k, generator, self.memories):
            answer.append(token)
            yield token
        self._end(chat, answer)

    def _end(self, chat: str, answer: list[int]) -> None:
        """Keep an answer. The token that ends it is left to the template, which writes it before the next turn."""
        ends = self.model.config.eos_token_id
        ended = answer[-1] in (ends if isinstance(ends, list) else [ends])
        said = str(self.tokenizer.decode(answer[:-1] if ended else answer, skip_special_tokens=True))
        self.turns.append({"role": "assistant", "content": said})
        self._read, self._unread = chat + said, [] if ended else answer[-1:]


def chat(args: argparse.Namespace) -> None:
    """Answer the lines of standard input until they end."""
    model, tokenizer = load_writer(args.model_name_or_path)
    if continue_chats(tokenizer):
        print("This model has no chat template: it continues the text that all turns make up.", file=sys.stderr)
    talk = Talk(model, tokenizer, args.system_prompt)
    generator = torch.Generator().manual_seed(args.seed)
    for text in _lines():
        if text == CLEAR:
            talk.clear()
        elif text:
            streamer = TextStreamer(tokenizer, skip_special_tokens=True)
            for token in talk.ask(text, args.max_new_tokens, args.temperature, args.top_k, generator):
                streamer.put(torch.tensor([token]))
            streamer.end()
    print(f"carrying {model.config.state_size:,} numbers, whatever the length", file=sys.stderr)


def _lines() -> Iterator[str]:
    """What a person types, line by line, until the input ends."""
    shows = sys.stdin.isatty()
    if shows:
        import readline  # noqa: F401  # from here on, input() edits lines and remembers them

        print(f"{CLEAR} begins a new chat, {EXIT} ends it.", file=sys.stderr)
    while True:
        try:
            text = input("> " if shows else "")
        except EOFError:
            return
        if text == EXIT:
            return
        yield text
