"""What `generate` promises of every generating class: the part of the shared suites that no distribution holds.

A model with a memory has to keep these promises in its own way, so each compares `generate` with plain forward passes,
or with itself in another way of keeping the past. Everything is computed in float64, but `generate` hands logits on in
float32, which leaves 1e-6.
"""

from dataclasses import fields

import torch
from configurations import BATCH, VOCABULARY, draw_ids
from torch import Tensor
from torch.testing import assert_close
from transformers.modeling_outputs import CausalLMOutputWithPast

# What the installed transformers calls the carried past.
CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"
NEW_TOKENS, TOLERANCE = 4, 1e-6
WAYS = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_k": 5},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 2, "do_sample": True},
}


class GenerationSuite:
    """For test cases that have ``all_model_classes``, of which the first generates, and a ``model_tester``."""

    def _model_and_inputs(self) -> tuple[torch.nn.Module, dict[str, Tensor]]:
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        config.eos_token_id = None
        model = self.all_model_classes[0](config).double().eval()
        return model, {name: inputs[name] for name in ("input_ids", "attention_mask")}

    def _generate(self, model: torch.nn.Module, inputs: dict, seed: int = 0, **how):
        torch.manual_seed(seed)
        plain = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "pad_token_id": 0}
        wanted = {"return_dict_in_generate": True, "output_logits": True}
        return model.generate(**inputs, **{**plain, **wanted, **how})

    def _assert_same(self, actual, expected) -> None:
        """Equal tokens (those behind a prompt, if one was given as embeddings) from equal logits."""
        assert torch.equal(actual.sequences[:, -NEW_TOKENS:], expected.sequences[:, -NEW_TOKENS:])
        for logits, wanted in zip(actual.logits, expected.logits, strict=True):
            assert_close(logits, wanted, rtol=0, atol=TOLERANCE)

    def test_generate_takes_the_likeliest_token_of_a_forward_pass(self) -> None:
        model, inputs = self._model_and_inputs()
        made = self._generate(model, inputs)
        name = "decoder_input_ids" if self.is_encoder_decoder else "input_ids"
        ids = made.sequences[:, :-NEW_TOKENS]
        for logits in made.logits:
            if not self.is_encoder_decoder:
                inputs["attention_mask"] = extended(inputs["attention_mask"], ids.shape[1])
            expected = model(**{**inputs, name: ids}, use_cache=False).logits[:, -1]
            assert_close(logits, expected.float(), rtol=0, atol=TOLERANCE)
            ids = torch.cat([ids, expected.argmax(-1, keepdim=True)], dim=1)
        assert torch.equal(made.sequences, ids)

    def test_generate_with_and_without_a_cache(self) -> None:
        model, inputs = self._model_and_inputs()
        for name, how in WAYS.items():
            with self.subTest(name):
                without = self._generate(model, inputs, use_cache=False, **how)
                assert getattr(without, CACHE, None) is None
                self._assert_same(self._generate(model, inputs, use_cache=True, **how), without)

    def test_generate_with_a_static_cache(self) -> None:
        model, inputs = self._model_and_inputs()
        self._assert_same(
            self._generate(model, inputs, cache_implementation="static"), self._generate(model, inputs, use_cache=False)
        )

    def test_generate_after_more_padding(self) -> None:
        model, inputs = self._model_and_inputs()
        self._assert_same(self._generate(model, padded(inputs, 5)), self._generate(model, inputs))

    def test_generate_reads_a_padded_prompt_in_pieces(self) -> None:
        if self.is_encoder_decoder:
            self.skipTest("transformers would cut the source's mask into the target's pieces")
        model, inputs = self._model_and_inputs()
        whole = self._generate(model, inputs)
        for piece in (1, 3):
            with self.subTest(piece):
                self._assert_same(self._generate(model, inputs, prefill_chunk_size=piece), whole)

    def test_generate_goes_on_turn_by_turn(self) -> None:
        for columns in (0, 2):
            with self.subTest(f"{columns} columns of padding in every row"):
                model, inputs = self._model_and_inputs()
                self._check_turns(model, padded(inputs, columns))

    def _check_turns(self, model: torch.nn.Module, inputs: dict) -> None:
        made = self._generate(model, inputs)
        for turn in range(3):
            ids = torch.cat([made.sequences, draw_ids(turn + 1)], dim=1)
            if self.is_encoder_decoder:
                inputs["decoder_input_ids"] = ids
            else:
                inputs |= {"input_ids": ids, "attention_mask": extended(inputs["attention_mask"], ids.shape[1])}
            made = self._generate(model, {**inputs, CACHE: getattr(made, CACHE)})
            self._assert_same(made, self._generate(model, inputs, use_cache=False))

    def test_generate_from_embeddings(self) -> None:
        model, inputs = self._model_and_inputs()
        embedded = dict(inputs)
        embedded["inputs_embeds"] = model.get_input_embeddings()(embedded.pop("input_ids"))
        for name, how in WAYS.items():
            with self.subTest(name):
                self._assert_same(self._generate(model, embedded, **how), self._generate(model, inputs, **how))

    def test_generate_with_and_without_positions(self) -> None:
        if self.is_encoder_decoder:
            self.skipTest("a source has no positions")
        model, inputs = self._model_and_inputs()
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        given = {**inputs, "attention_mask": torch.ones_like(positions)}
        counted = {**given, "position_ids": torch.arange(positions.shape[1]).expand_as(positions)}
        self._assert_same(self._generate(model, counted), self._generate(model, given))

    def test_generate_scores_its_beams(self) -> None:
        model, inputs = self._model_and_inputs()
        beams = self._generate(
            model, inputs, num_beams=3, num_return_sequences=2, output_scores=True, length_penalty=0.0
        )
        assert beams.sequences.shape[0] == 2 * BATCH
        repeated = {name: value.repeat_interleave(2, dim=0) for name, value in inputs.items()}
        name = "decoder_input_ids" if self.is_encoder_decoder else "input_ids"
        if not self.is_encoder_decoder:
            repeated["attention_mask"] = extended(repeated["attention_mask"], beams.sequences.shape[1])
        words = model(**{**repeated, name: beams.sequences}, use_cache=False).logits.log_softmax(-1)
        made = beams.sequences[:, -NEW_TOKENS:]
        scores = words[:, -NEW_TOKENS - 1 : -1].gather(2, made[..., None]).sum((1, 2))
        assert_close(beams.sequences_scores, scores.float(), rtol=0, atol=1e-5)  # sums of four float32

    def test_generate_returns_states_of_every_step(self) -> None:
        model, inputs = self._model_and_inputs()
        made = self._generate(model, inputs, output_hidden_states=True)
        states = made.decoder_hidden_states if self.is_encoder_decoder else made.hidden_states
        assert len(states) == NEW_TOKENS
        prompt = made.sequences.shape[1] - NEW_TOKENS
        for step, layers in enumerate(states):
            assert len(layers) == self.model_tester.num_hidden_layers + 1
            assert {layer.shape[:2] for layer in layers} == {(BATCH, 1 if step else prompt)}

    def test_generate_in_training_with_checkpoints(self) -> None:
        model, inputs = self._model_and_inputs()
        expected = self._generate(model, inputs)
        for module in model.modules():
            if isinstance(getattr(module, "p", None), float):
                module.p = 0.0  # no dropout, whose absence is all that makes `eval` differ
        model.gradient_checkpointing_enable()
        self._assert_same(self._generate(model.train(), inputs), expected)

    def test_generate_from_nothing_begins_with_the_first_token(self) -> None:
        if self.is_encoder_decoder:
            self.skipTest("there is nothing to translate")
        model, _ = self._model_and_inputs()
        expected = self._generate(model, {"input_ids": torch.ones(1, 1, dtype=torch.int64)})
        self._assert_same(self._generate(model, {}, bos_token_id=1), expected)

    def test_generate_refuses_to_guess_ahead(self) -> None:
        model, inputs = self._model_and_inputs()
        one = {name: value[1:2] for name, value in inputs.items()}
        with self.assertRaisesRegex(ValueError, "stateful"):
            self._generate(model, one, prompt_lookup_num_tokens=2)

    def test_generate_keeps_to_the_vocabulary_of_a_resized_model(self) -> None:
        model, inputs = self._model_and_inputs()
        model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
        made = self._generate(model, inputs)
        assert made.logits[0].shape == (BATCH, VOCABULARY + 3)
        self._assert_same(made, self._generate(model, inputs, use_cache=False))


def extended(mask: Tensor, steps: int) -> Tensor:
    """A mask that goes on with real steps."""
    return torch.cat([mask, mask.new_ones(len(mask), steps - mask.shape[1])], dim=1)


def padded(inputs: dict[str, Tensor], columns: int) -> dict[str, Tensor]:
    """Token ids and their mask, behind columns of padding."""
    return {name: torch.nn.functional.pad(value, (columns, 0)) for name, value in inputs.items()}
