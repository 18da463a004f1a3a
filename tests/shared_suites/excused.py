"""The tests of transformers' suites that ask for what a class does not have, each with the complaint that shows it.

An excused test must fail, and with its complaint: one that passes, or fails in another way, is counted as a failure.
"""

import functools
import re
import unittest
from collections.abc import Callable
from typing import NamedTuple

import pytest


class Excuse(NamedTuple):
    """A test, the cases (class and configuration) it is excused for and its complaint, as patterns, and why."""

    test: str
    cases: str
    complaint: str
    reason: str


SIGNALS = "(LMUModel_series|LMUForSequenceClassification_series|LMUForImage|LMUForTimeSeries).*"
NO_EMBEDDINGS = "a model of a real-valued signal has no token embeddings"
COUNTED = "n-grams are counted in token ids, which embeddings do not tell"
EXCUSES = [
    Excuse(
        "test_model_get_set_embeddings",
        SIGNALS,
        "None is not an instance of .*Embedding|not auto.handled",
        NO_EMBEDDINGS,
    ),
    Excuse("test_inputs_embeds_matches_input_ids", "LMUModel_series.*", "not auto.handled", NO_EMBEDDINGS),
    Excuse("test_inputs_embeds", SIGNALS, "input_ids", NO_EMBEDDINGS),
    Excuse(
        "test_load_with_mismatched_shapes",
        ".*Classification_series.*",
        "RuntimeError not raised|missing: embed_tokens",
        NO_EMBEDDINGS,
    ),
    Excuse(
        "test_retain_grad_hidden_states_attentions",
        f"{SIGNALS}_(lmu|highway)",
        "can't retain_grad on Tensor that has requires_grad=False",
        "where nothing is learnt before the first block, it reads the signal itself",
    ),
    Excuse(
        "test_inputs_embeds|test_generate_from_embeddings",
        ".*n_grams.*|.*votes",
        "(ngrams|votes) are of",
        COUNTED,
    ),
    Excuse("test_inputs_embeds_matches_input_ids", "LMU(EncoderDecoder)?Model_n_grams", "ngrams are of", COUNTED),
    Excuse(
        "test_(training|problem_types|resize_tokens_embeddings|enable_input_require_grads_with|retain_grad).*",
        "LMUForSequence(Pair)?Classification_votes",
        "no n-gram has a vote yet",
        "votes are counted in the training rows before a training",
    ),
    Excuse(
        "test_tied_weights_keys",
        "LMUForCausalLM_(narrow|memory|highway|deep)",
        "tie_word_embeddings needs embedding_size equal to hidden_size",
        "embeddings of another width than the blocks cannot be the head's",
    ),
    Excuse(
        "test_bc_cache_name_forward",
        ".*_(both_ways.*|series_m.*)|LMUForSequenceClassification_(m.*|votes)",
        "carries nothing|needs the whole sequence|are of whole sequences",
        "what reads the whole sequence carries nothing",
    ),
    Excuse(
        "test_bc_cache_name_forward",
        ".*",
        "False is not true",
        "a cache has both names, of which none is deprecated (see test_cache_by_either_name)",
    ),
    Excuse(
        "test_bc_cache_name_forward",
        "LMUEncoderDecoderModel.*|LMUForConditionalGeneration.*",
        "the second cache holds a source's keys and values, not memories",
        "of a decoder's two caches only the first is of memories (see test_cache_by_either_name)",
    ),
    Excuse(
        "test_inputs_embeds_matches_input_ids",
        "LMUEncoderDecoderModel_(?!tied|n_grams).*",
        "Tensor-likes are not close",
        "encoder and decoder have embeddings of their own, and the suite gives both the encoder's",
    ),
    Excuse(
        "test_base_model_prefix_loads_base_weights",
        "LMUEncoderDecoderModel.*",
        "'model' != 'encoder'",
        "an encoder is a model by itself, but not what its encoder-decoder is a head of",
    ),
]


def excused(test: Callable, excuse: Excuse) -> Callable:
    """The test, which now has to fail with the complaint."""

    @functools.wraps(test)
    def run(self: unittest.TestCase) -> None:
        try:
            test(self)
        except unittest.SkipTest:
            raise
        except Exception as error:
            if not re.search(excuse.complaint, str(error)):
                raise
            pytest.xfail(excuse.reason)
        self.fail(f"passes, and need not be excused any more ({excuse.reason})")

    return run
