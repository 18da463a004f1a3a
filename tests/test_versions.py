"""One code for every transformers, which give a cache two names; and several copies of that code in one process."""

import inspect
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.generation.utils import GenerateDecoderOnlyOutput

import tiny_heads
import tiny_stacks
import tiny_translators
from lmu_hf import (
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUModel,
)
from lmu_hf.cache_lmu import BOTH_NAMES, CACHE_NAME, FOREIGN_NAMES
from lmu_hf.hub.folder import modules_of
from lmu_hf.recording import cache_of
from tiny_heads import SERIES, SMALL_IMAGE

CARRYING = {
    "stack": lambda: tiny_heads.build(LMUModel),
    "text": lambda: tiny_heads.build(LMUForCausalLM),
    "class": lambda: tiny_heads.build(LMUForSequenceClassification, pooling="last"),
    "forecast": lambda: tiny_heads.build(LMUForTimeSeriesPrediction, vocab_size=None, **SERIES),
}
READING_WHOLE = {
    "pair": lambda: tiny_heads.build(LMUForSequencePairClassification),
    "image": lambda: tiny_heads.build(LMUForImageClassification, vocab_size=None, **SMALL_IMAGE),
}
each_name = pytest.mark.parametrize("name", BOTH_NAMES)


def inputs_of(model, n: int = 6) -> dict:
    if model.config.input_size is None:
        return {"input_ids": tiny_stacks.draw_ids(2, n)}
    return {"input_values": tiny_heads.draw(2, n, 2)}


def cut(inputs: dict, *columns: int) -> dict:
    return {name: value[:, slice(*columns)] for name, value in inputs.items()}


def first_of(output):
    return next(value for name, value in output.items() if name != CACHE_NAME)


def test_the_cache_argument_has_the_name_that_generate_uses():
    assert CACHE_NAME in GenerateDecoderOnlyOutput.__dataclass_fields__


@each_name
@pytest.mark.parametrize("build", CARRYING.values(), ids=CARRYING)
def test_every_model_takes_a_cache_by_either_name(build, name):
    model = build()
    inputs = inputs_of(model)
    whole = first_of(model(**inputs))
    read = model(**cut(inputs, 4), use_cache=True)
    assert CACHE_NAME in read and read.past_key_values is read[CACHE_NAME] is cache_of(read) is not None
    assert [key for key in read if key in BOTH_NAMES] == [CACHE_NAME]
    rest = first_of(model(**cut(inputs, 4, None), **{name: cache_of(read)}))
    tiny_stacks.assert_near(rest, whole if rest.shape == whole.shape else whole[:, 4:])


@each_name
def test_a_translator_takes_a_cache_by_either_name(name):
    model = tiny_translators.build()
    source, target = tiny_translators.draw(2, 7), tiny_translators.started(tiny_translators.draw(2, 5))
    whole = model(input_ids=source, decoder_input_ids=target).logits
    for part in (model, model.model):
        read = part(input_ids=source, decoder_input_ids=target[:, :3], use_cache=True)
        assert [key for key in read if key in BOTH_NAMES] == [CACHE_NAME]
        rest = part(input_ids=source, decoder_input_ids=target[:, 3:], **{name: cache_of(read)})[0]
    tiny_translators.assert_near(model.lm_head(rest), whole[:, 3:])


@each_name
def test_generate_takes_a_cache_by_either_name(name):
    model, ids = tiny_heads.build(LMUForCausalLM), tiny_stacks.draw_ids(2, 6)
    greedy = {"do_sample": False, "max_new_tokens": 5, "pad_token_id": 0}
    expected = model.generate(ids, **greedy)
    read = cache_of(model(ids[:, :4], use_cache=True))
    assert torch.equal(model.generate(ids, **greedy, **{name: read}), expected)
    assert torch.equal(model.generate(ids, **greedy, **{name: DynamicCache(config=model.config)}), expected)
    assert list(model.stream(ids[:1], 5, **{name: DynamicCache(config=model.config)})) == expected[0, 6:].tolist()
    translator, source = tiny_translators.build(), tiny_translators.draw(2, 7)
    empty = EncoderDecoderCache(DynamicCache(config=translator.config.decoder_config()), DynamicCache())
    expected = tiny_translators.greedy(translator, source)
    assert torch.equal(tiny_translators.greedy(translator, source, **{name: empty}), expected)


@pytest.mark.parametrize("build", (CARRYING | READING_WHOLE).values(), ids=CARRYING | READING_WHOLE)
def test_a_cache_under_a_wrong_name_is_refused_and_not_ignored(build):
    model = build()
    cache = DynamicCache(config=model.config)
    with pytest.raises(TypeError, match=r"cache and past_key_values are two names|cache is not an argument"):
        model(cache=cache, past_key_values=cache)
    for name in {*BOTH_NAMES, *FOREIGN_NAMES} - set(inspect.signature(model.forward).parameters):
        with pytest.raises(TypeError, match=f"{name} is not an argument of this model"):
            model(**{name: cache})


def test_generate_refuses_two_caches():
    model, ids = tiny_heads.build(LMUForCausalLM), tiny_stacks.draw_ids(1, 3)
    cache = DynamicCache(config=model.config)
    with pytest.raises(TypeError, match="two names of one argument"):
        model.generate(ids, cache=cache, past_key_values=cache)
    with pytest.raises(TypeError, match="cache_params is not an argument of this model: give memories as cache"):
        model.generate(ids, cache_params=cache)


def test_positions_of_a_later_turn_begin_at_the_count_of_the_cache():
    model, ids = tiny_heads.build(LMUForCausalLM), tiny_stacks.draw_ids(2, 9)
    read = cache_of(model(ids[:, :4], use_cache=True))
    rest = model(ids[:, 4:], cache=read, position_ids=torch.arange(4, 9)[None]).logits
    tiny_stacks.assert_near(rest, model(ids).logits[:, 4:])


def test_devices_and_predictions_leave_a_cache_alone():
    model = tiny_heads.build(LMUForCausalLM)
    assert set(BOTH_NAMES) <= set(model._skip_keys_device_placement)
    assert set(BOTH_NAMES) <= set(model.config.keys_to_ignore_at_inference)


# --------------------------------------------------------------------------- several copies of the code in one process

SEVERAL = r"""
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, DynamicCache
folders, ids = json.loads(sys.argv[1]), torch.arange(1, 7)[None]
greedy = {"do_sample": False, "max_new_tokens": 5, "pad_token_id": 0}
models, translators, expected = {}, {}, {}

def all_still_work():
    for name, model in models.items():
        expected.setdefault(name, model.generate(ids, **greedy).tolist())
        assert model.generate(ids, **greedy).tolist() == expected[name], name
        assert list(model.stream(ids, 5)) == expected[name][0][6:], name
    for name, model in translators.items():
        expected.setdefault("to " + name, model.generate(ids, **greedy).tolist())
        assert model.generate(ids, **greedy, num_beams=1).tolist() == expected["to " + name], name

for name in ("one", "two", "package"):  # once the package is there, its classes are those that are loaded
    how = {}
    if name == "package":
        import lmu_hf
    else:
        how["trust_remote_code"] = True
    models[name] = AutoModelForCausalLM.from_pretrained(folders[name], **how)
    translators[name] = AutoModelForSeq2SeqLM.from_pretrained(folders[name] + "-translator", **how)
    assert type(models[name]).__module__.startswith("lmu_hf." if name == "package" else "transformers_modules."), name
    all_still_work()
assert len({type(model) for model in models.values()}) == 3
for one in models.values():
    for other in models.values():
        whole = one(ids).logits
        cache = DynamicCache(config=other.config)
        other.eval()(ids[:, :3], past_key_values=cache)
        rest = one(ids[:, 3:], past_key_values=cache).logits  # all have the same weights
        assert (rest - whole[:, 3:]).abs().max() < 1e-5
        assert one.generate(ids, past_key_values=cache.__class__(config=other.config), **greedy).shape == (1, 11)
    import lmu_hf
    lmu_hf.save_memories(cache, folders["file"], one.config)
    lmu_hf.load_memories(folders["file"], one.config)
print(json.dumps(expected))
"""


def make_remote(folder, model, auto_class: str) -> None:
    """A folder as a push sends it: weights, a config that names the code, and the code."""
    model.save_pretrained(folder)
    module = type(model).__module__.rpartition(".")[2]
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration_lmu.LMUConfig", auto_class: f"{module}.{type(model).__name__}"}
    (folder / "config.json").write_text(json.dumps(config))
    for path in modules_of([module]):
        shutil.copyfile(path, folder / path.name)


def test_remote_code_and_the_package_live_in_one_process(tmp_path):
    for name in ("one", "two", "package"):
        text = tiny_heads.build(LMUForCausalLM, torch.float32)
        make_remote(tmp_path / name, text, "AutoModelForCausalLM")
        translator = tiny_translators.build(torch.float32, LMUForConditionalGeneration)
        make_remote(tmp_path / f"{name}-translator", translator, "AutoModelForSeq2SeqLM")
    given = {name: str(tmp_path / name) for name in ("one", "two", "package", "file")}
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SEVERAL, json.dumps(given)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["one"] == found["two"] == found["package"]
    assert found["to one"] == found["to two"] == found["to package"]
