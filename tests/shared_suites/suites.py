"""transformers' shared test suites, run on every class of the family in many configurations: `run.py` runs them."""

import contextlib
import copy
import inspect
import re
import unittest
from collections.abc import Iterator

import torch
from configurations import BATCH, LEARNING, STEPS, SUITES, TARGET_STEPS, Suite
from excused import EXCUSES, excused
from generation import CACHE, GenerationSuite
from source import load
from torch.testing import assert_close

from families import class_of, config_of
from lmu_hf import LMUConfig, LSTMConfig
from lmu_hf.configuration_lstm import OF_MEMORIES

ModelTesterMixin = load("test_modeling_common").ModelTesterMixin
ConfigTester = load("test_configuration_common").ConfigTester
TrainingTesterMixin = load("test_training_mixin").TrainingTesterMixin
GenerationTesterMixin = load("generation.test_utils").GenerationTesterMixin


class ModelTester:
    """What the suites ask of a class: a configuration, an input, and how large both are."""

    is_training = True
    batch_size = BATCH
    seq_length = encoder_seq_length = STEPS
    decoder_seq_length = TARGET_STEPS

    def __init__(self, suite: Suite, changes: dict) -> None:
        self.suite, self.fields = suite, {**suite.common, **changes}
        config = self.get_config()
        self.num_hidden_layers, self.hidden_size = config.num_hidden_layers, config.stack_input_size
        if config.image_size is not None:
            self.seq_length = self.encoder_seq_length = config.image_size**2
        elif config.is_encoder_decoder:
            self.seq_length = TARGET_STEPS

    @property
    def carries(self) -> bool:
        """Whether the class leaves memories behind in this configuration."""
        config, model = self.get_config(), self.suite.model
        reads_whole = hasattr(model, "pool") and (config.pooling != "last" or config.votes is not None)
        both_ways = config.bidirectional and not config.is_encoder_decoder
        return takes_cache(model) and not reads_whole and not both_ways

    def get_config(self) -> LMUConfig:
        return config_of(copy.deepcopy(self.fields))

    def prepare_config_and_inputs_for_common(self) -> tuple[LMUConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        return config, self.suite.inputs(config)


class SharedSuite(ModelTesterMixin):
    """transformers' suite for every model, as its own tests of a model without attention set it up."""

    suite: Suite
    changes: dict
    has_attentions = False

    def setUp(self) -> None:
        torch.manual_seed(0)
        self.model_tester = ModelTester(self.suite, self.changes)
        kind = type(self.model_tester.get_config())
        left_out = {"num_labels", "model_type", *(OF_MEMORIES if kind is LSTMConfig else ())}
        written = {name: value for name, value in self.model_tester.fields.items() if name not in left_out}
        self.config_tester = ConfigTester(self, kind, has_text_modality=self.test_resize_embeddings, **written)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        prepared = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and "input_values" in prepared and hasattr(model_class, "_loss"):
            prepared["labels"] = torch.zeros_like(prepared["input_values"])
        return prepared

    @contextlib.contextmanager
    def subTest(self, *message, **values) -> Iterator[None]:
        """A part that fails ends the test, so that a test has one outcome."""
        try:
            yield
        except Exception as error:
            error.add_note(f"in {message or ''} {values or ''}")
            raise

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    @torch.no_grad()
    def test_cache_by_either_name(self) -> None:
        if not self.model_tester.carries:
            self.skipTest("nothing is carried")
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = self.all_model_classes[0](config).double().eval()
        inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
        first = model(**inputs, use_cache=True)
        older, newer = (
            model(**inputs, use_cache=True, **{name: copy.deepcopy(getattr(first, CACHE))})
            for name in ("past_key_values", "cache")
        )
        assert_close(older[0], newer[0], rtol=0, atol=0)
        assert (older[0] - first[0]).abs().max() > 1e-6
        for output in (older, newer):
            assert getattr(output, CACHE).get_seq_length() == 2 * getattr(first, CACHE).get_seq_length()


def takes_cache(model: type) -> bool:
    """Whether a class can go on from memories."""
    return bool({"cache", "past_key_values"} & inspect.signature(model.forward).parameters.keys())


def of_family(suite: Suite, changes: dict) -> Suite:
    """The suite, of the baseline's class where a configuration asks for the baseline."""
    return suite._replace(model=class_of(suite.model, config_of({**suite.common, **changes})))


def make_case(suite: Suite, name: str, changes: dict) -> type[unittest.TestCase]:
    """A class's tests in one configuration."""
    title = f"{suite.model.__name__}_{re.sub(r'[^a-z]+', '_', name)}"
    suite = of_family(suite, changes)
    generates = suite.model.can_generate()
    bases = [SharedSuite, *([GenerationSuite, GenerationTesterMixin] if generates else [])]
    members = {
        "suite": suite,
        "changes": changes,
        "all_model_classes": (suite.model,),
        "is_encoder_decoder": suite.common.get("is_encoder_decoder", False),
        "test_resize_embeddings": suite.common["vocab_size"] is not None,
        "__module__": __name__,
    }
    case = type(title, (*bases, unittest.TestCase), members)
    for excuse in (excuse for excuse in EXCUSES if re.fullmatch(excuse.cases, title)):
        for test in (name for name in dir(case) if re.fullmatch(excuse.test, name)):
            setattr(case, test, excused(getattr(case, test), excuse))
    return case


def make_learner(suite: Suite, name: str, changes: dict) -> type[unittest.TestCase]:
    """transformers' test that a class learns a sequence by heart, and then generates it."""
    suite = of_family(suite, changes)
    members = {
        "model_tester": ModelTester(suite, changes),
        "all_model_classes": (suite.model,),
        "__module__": __name__,
    }
    return type(f"{suite.model.__name__}_learns_{name}", (TrainingTesterMixin, unittest.TestCase), members)


CASES = [make_case(suite, *configuration) for suite in SUITES for configuration in suite.configurations.items()]
CASES += [make_learner(LEARNING, *configuration) for configuration in LEARNING.configurations.items()]
globals().update({case.__name__: case for case in CASES})
