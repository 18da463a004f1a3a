"""Translation in use: losses, what is returned, saved and loaded, the config, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    DataCollatorForSeq2Seq,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)
from transformers.modeling_outputs import BaseModelOutput

from lmu_hf import LMUConfig, LMUEncoderDecoderModel, LMUForCausalLM, LMUForConditionalGeneration, LMUModel
from tiny_translators import PAD, START, TINY, VOCABULARY, assert_near, build, draw, each_kind, greedy, started, tiny

# --------------------------------------------------------------------------- losses


def test_labels_are_the_targets_of_each_step_and_are_not_shifted():
    model, source, labels = build(), draw(2, 6), draw(2, 9, seed=1)
    output = model(source, labels=labels)
    logits = model(source, decoder_input_ids=started(labels)[:, :-1]).logits
    assert torch.equal(output.logits, logits)
    assert_near(output.loss, cross_entropy(logits.flatten(0, 1), labels.flatten()))
    assert output.past_key_values is None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("training", [False, True])
def test_labels_are_smoothed_in_training_only_and_as_torch_does(smoothing, training):
    model, source, labels = build(label_smoothing=smoothing).train(training), draw(2, 6), draw(2, 9, seed=1)
    labels[0, 5:] = labels[1, 3] = -100
    output = model(source, labels=labels)
    how = {"label_smoothing": smoothing * training}
    assert_near(output.loss, cross_entropy(output.logits.flatten(0, 1), labels.flatten(), **how))
    summed = cross_entropy(output.logits.flatten(0, 1), labels.flatten(), reduction="sum", **how)
    assert_near(model(source, labels=labels, num_items_in_batch=torch.tensor(40)).loss, summed / 40)


def test_rows_padded_to_one_length_weigh_by_their_labels():
    model, sources, targets = build(), [draw(1, n, seed=n) for n in (3, 8, 5)], [draw(1, n, seed=n) for n in (6, 2, 9)]
    batch = collate(sources, targets, model)
    assert batch["decoder_input_ids"][1].tolist() == [
        START,
        *targets[1][0, :-1].tolist(),
        targets[1][0, -1],
        *[PAD] * 6,
    ]
    alone = [model(s, labels=t, num_items_in_batch=17).loss for s, t in zip(sources, targets, strict=True)]
    assert_near(model(**batch).loss, torch.stack(alone).sum())


def words() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="3"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="0", model_input_names=["input_ids", "attention_mask"]
    )


def collate(sources: list[Tensor], targets: list[Tensor], model=None, side: str = "right") -> dict[str, Tensor]:
    tokenizer = words()
    tokenizer.padding_side = side
    rows = [{"input_ids": s[0].tolist(), "labels": t[0].tolist()} for s, t in zip(sources, targets, strict=True)]
    return DataCollatorForSeq2Seq(tokenizer, model=model)(rows)


def test_labels_padded_on_the_left_are_refused():
    with pytest.raises(ValueError, match=r"padded on the right.*row 1"):
        collate([draw(1, 3), draw(1, 3)], [draw(1, 5), draw(1, 4)], build(), side="left")


def test_a_row_without_labels_adds_nothing():
    model, source, labels = build(), draw(2, 6), draw(2, 4, seed=1)
    labels[1] = -100
    assert_near(model(source, labels=labels).loss, model(source[:1], labels=labels[:1]).loss)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("changes", [{}, {"block_type": "highway"}])
def test_checkpointed_gradients_are_the_same(reentrant, changes):
    model, source, labels = build(**changes).train(), draw(2, 6), draw(2, 5, seed=1)
    mask = torch.tensor([[1] * 6, [0] * 2 + [1] * 4])

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(source, attention_mask=mask, labels=labels).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    expected, runs = gradients(), []
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    for layer in model.get_decoder().layers:
        layer.cross_attention.query.register_forward_hook(lambda *_: runs.append("query"))
    for name, gradient in gradients().items():
        assert_near(gradient, expected[name], 1e-12)
    assert len(runs) == 2 * 3


class Pairs(torch.utils.data.Dataset):
    """Sixteen sources of one length, and targets of many."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": draw(5, seed=index).tolist(), "labels": draw(2 + 3 * (index % 4), seed=index + 1).tolist()}


def train(folder: Path, batch: int, accumulation: int, learning_rate: float = 0.5) -> tuple[Seq2SeqTrainer, float]:
    model = build(torch.float32)
    arguments = Seq2SeqTrainingArguments(
        **{"output_dir": str(folder), "use_cpu": True, "report_to": "none", "save_strategy": "no", "seed": 0},
        **{"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": 1},
        **{"learning_rate": learning_rate, "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "optim": "sgd"},
        **{"disable_tqdm": True, "logging_strategy": "no", "predict_with_generate": True, "generation_max_length": 6},
    )
    collator = DataCollatorForSeq2Seq(words(), model=model)
    trainer = Seq2SeqTrainer(model, arguments, data_collator=collator, train_dataset=Pairs(), eval_dataset=Pairs())
    return trainer, trainer.train().training_loss


def test_accumulated_batches_train_as_one_of_their_sum(tmp_path):
    whole, expected = train(tmp_path / "whole", batch=8, accumulation=1)
    parts, actual = train(tmp_path / "parts", batch=2, accumulation=4)
    assert actual == pytest.approx(expected, rel=1e-5)
    for name, parameter in parts.model.named_parameters():
        assert_close(parameter, whole.model.get_parameter(name), rtol=0, atol=1e-5)


def test_the_training_loss_is_on_the_scale_of_the_evaluation_loss_and_the_trainer_translates(tmp_path):
    trainer, loss = train(tmp_path, batch=2, accumulation=8, learning_rate=0.0)
    trainer.args.per_device_eval_batch_size = 16
    result = trainer.predict(Pairs())
    assert result.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
    source = torch.stack([torch.tensor(Pairs()[index]["input_ids"]) for index in range(16)])
    assert (result.predictions[:, :6] == greedy(trainer.model, source, tokens=5).numpy()).all()


# --------------------------------------------------------------------------- outputs and inputs


@each_kind
def test_every_hidden_state_and_attention_is_returned_on_demand(changes):
    model, source, target = build(kind=LMUEncoderDecoderModel, **changes), draw(2, 6), draw(2, 4, seed=1)
    output = model(source, decoder_input_ids=target, output_hidden_states=True)
    config = model.config
    assert len(output.encoder_hidden_states) == config.num_hidden_layers + 1
    assert len(output.decoder_hidden_states) == (config.num_decoder_layers or config.num_hidden_layers) + 1
    assert torch.equal(output.encoder_hidden_states[-1], output.encoder_last_hidden_state)
    assert torch.equal(output.decoder_hidden_states[-1], output.last_hidden_state)
    assert model(source, decoder_input_ids=target).decoder_hidden_states is None


def test_tokens_embeddings_and_what_was_read_before_are_the_same_source():
    model, source, target = build(), draw(2, 6), draw(2, 4, seed=1)
    expected = model(source, decoder_input_ids=target).logits
    encoded = model.get_encoder()(source)
    for other in (
        {"inputs_embeds": model.get_input_embeddings()(source)},
        {"encoder_outputs": encoded},
        {"encoder_outputs": (encoded.last_hidden_state,)},
        {"encoder_outputs": BaseModelOutput(encoded.last_hidden_state)},
    ):
        assert_near(model(**other, decoder_input_ids=target).logits, expected, 1e-12)
    embeds = model.get_decoder().embed_tokens(target)
    assert_near(model(source, decoder_inputs_embeds=embeds).logits, expected, 1e-12)


def test_outputs_may_be_tuples():
    for model in (build(), build(kind=LMUEncoderDecoderModel)):
        named = model(draw(2, 6), decoder_input_ids=draw(2, 4))
        assert torch.equal(model(draw(2, 6), decoder_input_ids=draw(2, 4), return_dict=False)[0], named[0])


# --------------------------------------------------------------------------- saved and loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("translator")
    build(torch.float32, tie_word_embeddings=True, bidirectional=True).save_pretrained(path)
    return path


def test_tied_embeddings_are_one_tensor_saved_once(folder):  # in a fresh process: tests/test_pipelines.py
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert [key for key in load_file(folder / "model.safetensors") if "embed" in key or "head" in key] == [
        "model.encoder.embed_tokens.weight"
    ]
    assert model.lm_head.weight is model.get_encoder().embed_tokens.weight is model.get_decoder().embed_tokens.weight


def test_a_body_is_found_under_its_head_and_a_head_put_on_its_body(folder, tmp_path):
    model, source, target = AutoModelForSeq2SeqLM.from_pretrained(folder), draw(2, 6), draw(2, 4, seed=1)
    body, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert type(body) is LMUEncoderDecoderModel
    assert not any(report.values())
    expected = model.model(source, decoder_input_ids=target).last_hidden_state
    assert torch.equal(body(source, decoder_input_ids=target).last_hidden_state, expected)
    body.save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is LMUEncoderDecoderModel
    again = LMUForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(again(source, decoder_input_ids=target).logits, model(source, decoder_input_ids=target).logits)


def test_a_body_is_made_from_its_config_alone():
    assert type(AutoModel.from_config(tiny())) is LMUEncoderDecoderModel
    assert type(AutoModel.from_config(tiny().encoder_config())) is LMUModel


@pytest.mark.parametrize("options", [{"dtype": "auto"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}], ids=str)
def test_every_way_of_loading_gives_the_same_bits(folder, options):
    model, loaded = (AutoModelForSeq2SeqLM.from_pretrained(folder, **how) for how in ({}, options))
    assert "LMUDecoderBlock" in loaded._no_split_modules
    assert torch.equal(greedy(loaded, draw(2, 6)), greedy(model, draw(2, 6)))


def test_a_model_made_on_the_meta_device_takes_weights():
    model, source = build(torch.float32), draw(2, 6)
    with torch.device("meta"):
        empty = LMUForConditionalGeneration(model.config)
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(greedy(empty.eval(), source), greedy(model, source))


def test_it_loads_and_translates_in_bfloat16(folder):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.bfloat16)
    cast = AutoModelForSeq2SeqLM.from_pretrained(folder).to(torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    inputs = {"input_ids": draw(2, 6), "decoder_input_ids": draw(2, 30, seed=1)}
    assert torch.equal(model(**inputs).logits, cast(**inputs).logits)
    exact = AutoModelForSeq2SeqLM.from_pretrained(folder)(**inputs).logits
    assert (model(**inputs).logits.float() - exact).norm() <= 0.03 * exact.norm()
    assert greedy(model, draw(2, 6), num_beams=2).shape == (2, 13)


@pytest.mark.parametrize("tied", [False, True])
def test_a_larger_vocabulary_is_one_of_both_stacks_and_the_head(tied, tmp_path):
    model, source, target = build(torch.float32, tie_word_embeddings=tied), draw(2, 6), draw(2, 4, seed=1)
    before = model(source, decoder_input_ids=target).logits
    model.resize_token_embeddings(40)
    after = model(source, decoder_input_ids=target).logits
    assert after.shape[-1] == 40
    assert_close(after[..., :VOCABULARY], before, rtol=0, atol=1e-6)
    new = torch.full((2, 3), 39)
    assert model(new, labels=new).loss.isfinite()
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert torch.equal(again(new, labels=new).logits, model(new, labels=new).logits)
    assert again.get_decoder().config.vocab_size == again.get_encoder().config.vocab_size == 40


# --------------------------------------------------------------------------- the config


@pytest.mark.parametrize("fields", [{}, TINY, {**TINY, "num_decoder_layers": None, "decoder_theta": None}])
def test_a_config_survives_being_written_down(fields, tmp_path):
    config = LMUConfig(**{**fields, "is_encoder_decoder": True})
    config.save_pretrained(tmp_path)
    again = LMUConfig.from_pretrained(tmp_path)
    assert again.to_json_string(use_diff=False) == config.to_json_string(use_diff=False)
    assert (again.num_decoder_layers, again.decoder_theta) == (config.num_decoder_layers, config.decoder_theta)


def test_encoder_and_decoder_configs_are_parts_of_the_whole():
    config = tiny(bidirectional=True)
    encoder, decoder = config.get_text_config(encoder=True), config.get_text_config(decoder=True)
    assert config.get_text_config() is config
    assert (encoder.layer_thetas, decoder.layer_thetas) == ([5.0, 30.0], [4.0, 9.0, 20.0])
    assert (len(encoder.layer_types), len(decoder.layer_types)) == (2, 3)
    assert (encoder.bidirectional, decoder.bidirectional) == (True, False)
    assert not encoder.is_encoder_decoder and not decoder.is_encoder_decoder
    assert config.is_encoder_decoder and config.num_hidden_layers == 2


@each_kind
def test_the_size_estimate_is_the_size_of_the_model(changes):
    config = tiny(**{**changes, "hidden_size": 64, "vocab_size": 500})
    with torch.device("meta"):
        model = LMUForConditionalGeneration(config)
    # Biases, norms and score vectors are left out; a first layer narrower than the rest is counted as one of them.
    assert 0.9 < sum(config.asked_bytes().values()) / (4 * model.num_parameters()) < 1.4


# --------------------------------------------------------------------------- refused by name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_decoder_layers": 0}, "num_decoder_layers must be at least 1"),
        ({"num_decoder_layers": 10**6, "decoder_theta": 4.0}, "num_decoder_layers must be at most"),
        ({"decoder_theta": [4.0, 9.0]}, "decoder_theta lists 2 windows for 3 decoder layers"),
        ({"decoder_theta": None}, "theta lists 2 windows for 3 decoder layers"),
        ({"decoder_theta": [[], 9.0, 9.0]}, "decoder_theta lists 0 windows for layer 0"),
        ({"decoder_theta": 0.5}, "theta"),
        ({"decoder_theta": float("nan")}, "theta"),
        ({"decoder_theta": [4.0, 0.0, 2.0]}, "theta"),
        ({"num_attention_heads": 5}, "num_attention_heads must divide hidden_size=12, got 5"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"input_size": 3}, "needs a vocab_size; input_size=3"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a probability"),
        ({"readout": "memory", "memory_channels": 2, "bidirectional": True}, "readout='memory'.*one width"),
        ({"hidden_size": 2**13, "num_decoder_layers": 99, "decoder_theta": 4.0}, "GiB"),
    ],
)
def test_an_invalid_config_is_refused_by_name(changes, words):
    with pytest.raises(Exception, match=words):
        tiny(**changes)


def test_a_decoder_whose_memory_is_not_stable_is_not_made():
    config = tiny(decoder_theta=2.0, discretization="euler", theta=1000.0)
    with pytest.raises(ValueError, match=r"theta=2 is\s+unstable"):
        LMUForConditionalGeneration(config)


IDS = draw(2, 5)
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS}


def caches(model, second=None) -> EncoderDecoderCache:
    return EncoderDecoderCache(DynamicCache(config=model.config), second or DynamicCache())


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"input_ids": IDS}, ValueError, "decoder_input_ids or decoder_inputs_embeds .*must be given"),
        ({"decoder_input_ids": IDS}, ValueError, "exactly one of input_ids"),
        (
            {**BOTH, "attention_mask": torch.tensor([[1] * 5, [0] * 5])},
            ValueError,
            "no real step in row 1 of the source",
        ),
        ({**BOTH, "attention_mask": torch.ones(2, 4)}, ValueError, r"attention_mask.*\(2, 4\)"),
        ({**BOTH, "attention_mask": torch.ones(2, 6)}, ValueError, r"attention_mask.*\(2, 6\)"),
        ({**BOTH, "attention_mask": torch.ones(1, 5)}, ValueError, r"attention_mask.*\(1, 5\)"),
        ({**BOTH, "decoder_attention_mask": torch.ones(2, 4)}, ValueError, r"decoder_attention_mask.*\(2, 4\)"),
        ({**BOTH, "decoder_attention_mask": torch.ones(3, 5)}, ValueError, r"decoder_attention_mask.*\(3, 5\)"),
        ({**BOTH, "decoder_attention_mask": torch.ones(5)}, ValueError, r"decoder_attention_mask.*\(5,\)"),
        ({"input_ids": IDS, "decoder_input_ids": IDS[:1]}, ValueError, "decoder_input_ids hold 1 rows for 2 sources"),
        ({"input_ids": IDS[:1], "decoder_input_ids": IDS}, ValueError, "decoder_input_ids hold 2 rows for 1 sources"),
        ({"input_ids": IDS, "labels": IDS[0]}, ValueError, r"labels must be .*, got \(5,\)"),
        ({**BOTH, "labels": IDS[:, :4]}, ValueError, r"labels must be .*\(2, 5\), got \(2, 4\)"),
        ({"input_ids": IDS, "labels": IDS + 99}, ValueError, "vocab_size"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(inputs, error, words):
    with pytest.raises(error, match=words):
        build()(**inputs)


def keys_and_values() -> DynamicCache:
    """What an attention model would carry."""
    cache = DynamicCache()
    cache.update(torch.zeros(2, 1, 5, 4), torch.zeros(2, 1, 5, 4), 0)
    return cache


def test_a_cache_of_another_kind_or_of_another_source_is_refused():
    model = build()
    with pytest.raises(TypeError, match="must be an EncoderDecoderCache, got DynamicCache"):
        model(**BOTH, past_key_values=DynamicCache(config=model.config))
    with pytest.raises(TypeError, match="the second cache holds a source's keys and values"):
        model(**BOTH, past_key_values=caches(model, DynamicCache(config=model.config)))
    with pytest.raises(TypeError, match="must hold LMU memories"):
        model(**BOTH, past_key_values=EncoderDecoderCache(keys_and_values(), DynamicCache()))
    kept = model(**BOTH).past_key_values
    with pytest.raises(ValueError, match=r"made for 2 sources of 5 steps, got \(2, 3\)"):
        model(input_ids=IDS[:, :3], decoder_input_ids=IDS, past_key_values=kept)


def test_a_missing_start_or_padding_token_is_named():
    model = build(decoder_start_token_id=None)
    for ask in (lambda: model(IDS, labels=IDS), lambda: greedy(model, IDS)):
        with pytest.raises(ValueError, match="decoder_start_token_id"):
            ask()
    assert build(decoder_start_token_id=None, bos_token_id=START)(IDS, labels=IDS).loss.isfinite()
    with pytest.raises(ValueError, match="pad_token_id must be set"):
        build(pad_token_id=None)(IDS, labels=IDS)


def test_a_config_of_one_stack_is_refused_by_an_encoder_decoder(folder):
    with pytest.raises(ValueError, match="use LMUEncoderDecoderModel"):
        LMUModel(tiny())
    with pytest.raises(ValueError, match="two stacks"):
        LMUForCausalLM(tiny())
    with pytest.raises(ValueError, match=r"two stacks|forwards"):
        AutoModelForCausalLM.from_pretrained(folder)
    for kind in (LMUEncoderDecoderModel, LMUForConditionalGeneration):
        with pytest.raises(ValueError, match="is_encoder_decoder=True"):
            kind(LMUConfig())
    with pytest.raises(ValueError, match="tie_word_embeddings needs embedding_size"):
        LMUForConditionalGeneration(tiny(tie_word_embeddings=True, embedding_size=5))
