"""Sounds: frames against transformers' own spectrogram, the head, and a stream against the whole."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForAudioClassification
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

import lmu_hf
from families import LSTM
from lmu_hf import LMUForAudioClassification
from lmu_hf.frames_lmu import Frames, cut, features_of, frames_of, levelled, standardise
from lmu_hf.hub.export import differences, export, graphs, load_onnx
from lmu_hf.listening_lmu import Listener, Pool, as_samples
from tiny_heads import LABELS, build, draw, tiny
from tiny_stacks import assert_near, randomised

RATE = 1000
FRAMES = Frames(RATE, bands=5, lowest=50, adaptation=7.0, relative_floor=1e-2, mean=[-3.0] * 5, deviation=[2.0] * 5)
AUDIO = {"input_size": 5, "audio": FRAMES.record, "pooling": "mean"}
RAW = {"input_size": 4, "audio": Frames(RATE, "raw", hop_length=4).record, "pooling": "mean"}
POOLINGS = ("mean", "max", "mean_max", "last")


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, samples)


def pieces(signal: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """The signal in pieces of these sizes, again and again."""
    ends, place = [], 0
    while place < len(signal):
        place += sizes[len(ends) % len(sizes)]
        ends.append(min(place, len(signal)))
    return np.split(signal, ends[:-1])


def whole(model, signal: np.ndarray) -> torch.Tensor:
    values = frames_of(torch.as_tensor(signal)[None], Frames.of(model.config))
    with torch.no_grad():
        return model(input_values=values.to(model.dtype)).logits[0]


@pytest.mark.parametrize(("rate", "bands", "lowest"), [(8000, 40, 0.0), (16_000, 80, 20.0)])
def test_log_mel_frames_are_those_of_transformers(rate, bands, lowest):
    frames, signal = Frames(rate, bands=bands, lowest=lowest), sound(rate)
    size = 2 ** (frames.length - 1).bit_length()
    bank = mel_filter_bank(size // 2 + 1, bands, lowest, rate / 2, rate, mel_scale="htk")
    theirs = spectrogram(
        signal,
        window_function(frames.length, "hann"),
        frames.length,
        frames.hop,
        fft_length=size,
        power=2.0,
        center=False,
        mel_filters=bank,
        mel_floor=frames.floor,
        log_mel="log",
    ).T
    ours = features_of(cut(torch.from_numpy(signal)[None], frames), frames)[0].numpy()
    # Theirs passes through complex64.
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@given(st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_a_signal_has_the_frames_that_fit_into_it_and_at_least_one(samples):
    values = frames_of(torch.ones(2, samples), FRAMES)
    assert values.shape == (2, max(1, FRAMES.count(samples)), 5) and values.dtype == torch.float32


def test_no_frame_depends_on_what_comes_later():
    signal = torch.from_numpy(sound(300))[None]
    changed = signal.clone()
    changed[:, 200:] = 0
    before = FRAMES.count(200)
    assert torch.equal(frames_of(signal, FRAMES)[:, :before], frames_of(changed, FRAMES)[:, :before])


def test_levelled_powers_are_in_units_of_the_mean_power_so_far():
    features = torch.from_numpy(sound(60)).view(1, 12, 5)
    values, total = levelled(features, FRAMES, torch.zeros(1, 1, dtype=torch.float64), 0)
    for step in range(12):
        level = features[0, : step + 1].exp().mean()
        torch.testing.assert_close(values[0, step], (features[0, step].exp() / level + 1e-2).log())
    assert float(total) == pytest.approx(float(features.exp().mean(-1).sum()))


def test_a_louder_sound_has_the_same_levelled_frames():
    signal = torch.from_numpy(sound(500))[None]
    torch.testing.assert_close(frames_of(signal, FRAMES), frames_of(signal / 10, FRAMES), atol=1e-3, rtol=0)


def test_the_mean_that_is_taken_away_is_that_of_the_frames_so_far():
    features = draw(1, 6, 5)
    plain = replace(FRAMES, relative_floor=None)
    values, total = standardise(features, plain, torch.zeros(1, 5, dtype=torch.float64), 0)
    for t in range(6):
        mean = (7 * -3.0 + features[0, : t + 1].sum(0)) / (7 + t + 1)
        assert_near(values[0, t], (features[0, t] - mean) / 2)
    assert_near(total, features.sum(1))


def test_without_adaptation_the_training_mean_alone_is_taken_away():
    frames = Frames(RATE, bands=5, mean=[1.0], deviation=[4.0])
    assert_near(standardise(draw(1, 3, 5), frames, torch.zeros(1, 5), 0)[0], (draw(1, 3, 5) - 1) / 4)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("changes", [{}, LSTM, {"block_type": "lmu"}, {"block_type": "highway"}], ids=str)
def test_a_stream_ends_in_the_logits_of_the_whole(pooling, changes):
    config = tiny(**{**AUDIO, "pooling": pooling}, **changes)
    kind = lmu_hf.LSTMForAudioClassification if changes == LSTM else LMUForAudioClassification
    model, signal = randomised(kind(config), torch.float32).eval(), sound(733)
    expected = whole(model, signal)
    for sizes in ([733], [10], [1, 250, 3]):
        *_, last = model.listen(pieces(signal, sizes))
        assert float((last.logits - expected).abs().max()) < 1e-5
        assert last.seconds == pytest.approx((FRAMES.overlap + FRAMES.hop * FRAMES.count(733)) / RATE)
        assert float(last.scores.sum()) == pytest.approx(1)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=5), st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_pieces_of_any_size_hear_the_same(sizes, samples):
    model, signal = build(LMUForAudioClassification, torch.float32, **AUDIO), sound(samples)
    *_, last = model.listen(pieces(signal, sizes))
    assert float((last.logits - whole(model, signal)).abs().max()) < 1e-5


@pytest.mark.parametrize("size", [15, 33, 70])
@pytest.mark.parametrize("changes", [{}, LSTM], ids=str)
def test_recorded_pieces_hear_what_the_whole_model_does(changes, size):
    kind = lmu_hf.LSTMForAudioClassification if changes == LSTM else LMUForAudioClassification
    model, signal = randomised(kind(tiny(**AUDIO, **changes)), torch.float32).eval(), sound(3000)
    listener = Listener(model)
    heard = [answer for piece in pieces(signal, [size]) if (answer := listener.hear(piece)) is not None]
    assert listener._recordings
    assert changes == LSTM or all(recording is not None for recording in listener._recordings.values())
    assert float((heard[-1].logits - whole(model, signal)).abs().max()) < 1e-5


def test_a_hooked_model_is_never_recorded():
    model, calls = build(LMUForAudioClassification, torch.float32, **AUDIO), []
    model.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    listener = Listener(model)
    answers = [listener.hear(piece) for piece in pieces(sound(600), [15])]
    assert not any(listener._recordings.values()) and len(calls) == sum(answer is not None for answer in answers)


def test_every_answer_on_the_way_is_that_of_the_sound_so_far():
    model, signal = build(LMUForAudioClassification, torch.float32, **AUDIO), sound(200)
    for heard in model.listen(pieces(signal, [17])):
        so_far = signal[: round(heard.seconds * RATE)]
        assert float((heard.logits - whole(model, so_far)).abs().max()) < 1e-5


def test_raw_samples_are_heard_as_a_stream_too():
    model, signal = build(LMUForAudioClassification, torch.float32, **RAW), sound(90)
    *_, last = model.listen(pieces(signal, [7]))
    assert float((last.logits - whole(model, signal)).abs().max()) < 1e-5


def test_the_state_does_not_grow_with_the_sound():
    model = build(LMUForAudioClassification, torch.float32, **AUDIO)
    listener, sizes = Listener(model), []
    for _ in range(30):
        listener.hear(sound(20))
        sizes.append(listener.state_bytes)
    assert max(sizes[5:]) <= max(sizes[:5]) < 8 * (FRAMES.length + 400)


def test_int16_and_tensors_are_pieces_too():
    model, signal = build(LMUForAudioClassification, torch.float32, **AUDIO), sound(150).clip(-1, 0.99)
    integers = (signal * 2**15).astype(np.int16)
    *_, first = model.listen([integers])
    *_, second = model.listen([torch.from_numpy(integers / 2.0**15)])
    assert torch.equal(first.logits, second.logits)


@pytest.mark.parametrize(
    ("changes", "rate", "piece", "message"),
    [
        ({"bidirectional": True}, None, sound(9), "bidirectional=True reads from the end"),
        ({"audio": None}, None, sound(9), "listen needs config.audio"),
        ({}, 8000, sound(9), "listen reads 1000 samples a second, got sampling_rate=8000"),
        ({}, RATE, np.zeros((9, 2)), "mix its channels down first"),
        ({}, RATE, np.array([0.0, np.nan]), "samples must be finite, got nan at sample 1"),
        ({}, RATE, np.zeros(0), "was given no samples"),
    ],
)
def test_what_cannot_be_heard_is_refused_in_one_line(changes, rate, piece, message):
    model = build(LMUForAudioClassification, torch.float32, **{**AUDIO, **changes})
    with pytest.raises(ValueError, match=message):
        list(model.listen([piece], rate))


def test_samples_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="int64"):
        as_samples(np.arange(3))


def test_a_pool_is_that_of_all_steps():
    states, pool = draw(1, 9, 4), Pool(("mean", "max"))
    for part in states.split(2, dim=1):
        pooled = pool.add(part)
    assert_near(pooled, torch.cat([states.mean(1), states.amax(1)], -1))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"features": "mfcc"}, "features must be one of"),
        ({"sampling_rate": 0}, "sampling_rate must be a whole number"),
        ({"hop_length": 30, "frame_length": 20}, "frame_length must be at least hop_length=30"),
        ({"floor": 0.0}, "floor must be a positive power"),
        ({"mean": [1.0, 2.0]}, "mean must be one finite number, or one for each of 40 bands"),
        ({"deviation": [0.0]}, "deviation must be positive"),
        ({"lowest": 500.0}, "lowest must be a frequency from 0 to below half"),
        ({"relative_floor": 0.0}, "relative_floor must be a positive number"),
        ({"adaptation": -1.0}, "adaptation must be a positive number of frames"),
        ({"features": "raw", "hop_length": 4, "bands": 3}, "bands are the hop_length"),
        ({"band": 3}, "did you mean 'bands'"),
    ],
)
def test_a_record_that_cannot_be_is_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        Frames.read({"sampling_rate": RATE, **entries})


def test_frames_must_fit_the_input():
    with pytest.raises(ValueError, match="input_size must be 5, got 4"):
        build(LMUForAudioClassification, **{**AUDIO, "input_size": 4})
    with pytest.raises(ValueError, match="set input_size"):
        build(LMUForAudioClassification)


def test_a_saved_head_is_found_by_its_auto_class_and_listens_alike(tmp_path):
    model, signal = build(LMUForAudioClassification, torch.float32, **AUDIO), sound(300)
    model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(back) is LMUForAudioClassification and back.config.audio == FRAMES.record
    assert torch.equal([*model.listen([signal])][-1].logits, [*back.listen([signal])][-1].logits)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_masked_batch_is_its_sounds_one_by_one(pooling):
    model, values = build(LMUForAudioClassification, **{**AUDIO, "pooling": pooling}), draw(2, 6, 5)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    together = model(input_values=values, attention_mask=mask, labels=torch.tensor([0, LABELS - 1]))
    assert_near(together.logits[0], model(input_values=values[:1]).logits[0])
    assert_near(together.logits[1], model(input_values=values[1:, :4]).logits[0])
    assert bool(together.loss.isfinite())


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"pooling": "mean_max"}, {"pooling": "last"}], ids=str)
def test_the_onnx_step_hears_what_the_model_hears(changes, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX files need the extra: pip install 'lmu-hf[export]'")
    config = tiny(**{**AUDIO, **changes})
    model, signal = randomised(LMUForAudioClassification(config), torch.float32).eval(), sound(400)
    export(model, tmp_path)
    assert max(differences(model, tmp_path).values()) < 1e-5
    step, run = graphs(model)["step"], load_onnx(tmp_path / "step.onnx")
    carried = {name: torch.zeros_like(example[:1]) for name, example in step.inputs.items()}
    samples = torch.from_numpy(signal)[None].float()
    carried["tail"] = samples[:, : FRAMES.overlap]
    for start in range(FRAMES.overlap, 400 - FRAMES.hop + 1, FRAMES.hop):
        logits, *held = run({**carried, "samples": samples[:, start : start + FRAMES.hop]})
        carried = dict(zip([name for name in step.inputs if name != "samples"], held, strict=True))
    assert float((logits[0] - whole(model, samples[0].numpy())).abs().max()) < 1e-5
