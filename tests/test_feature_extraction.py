"""The feature extractor and the pipeline: any sound in, frames and classes out, without ffmpeg."""

import logging

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, pipeline

from lmu_hf import LMUFeatureExtractor, LMUForAudioClassification
from lmu_hf.feature_extraction_lmu import mix_down, read_audio, resample
from lmu_hf.frames_lmu import Frames, frames_of
from tiny_heads import build

RATE = 4000
ENTRIES = {"sampling_rate": RATE, "bands": 6, "adaptation": 5.0}


@pytest.fixture
def extractor() -> LMUFeatureExtractor:
    return LMUFeatureExtractor(**ENTRIES)


@pytest.fixture
def folder(tmp_path, extractor):
    model = build(LMUForAudioClassification, torch.float32, input_size=6, audio=extractor.frames.record, pooling="mean")
    model.save_pretrained(tmp_path / "model")
    extractor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def tone(seconds: float = 0.3, rate: int = RATE, hertz: float = 300.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def test_sounds_of_any_length_are_padded_and_masked(extractor):
    batch = extractor([tone(0.3), tone(0.1), tone(0.001)], return_tensors="pt")
    lengths = [extractor.frames.count(len(tone(seconds))) for seconds in (0.3, 0.1)] + [1]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert batch["input_values"].shape == (3, lengths[0], 6)
    alone = frames_of(torch.from_numpy(tone(0.1))[None], extractor.frames)[0]
    assert torch.equal(batch["input_values"][1, : lengths[1]], alone)


def test_raw_samples_are_steps_themselves():
    raw = LMUFeatureExtractor(RATE, features="raw")
    assert raw(tone(), return_tensors="pt")["input_values"].shape == (1, len(tone()))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.float32])
def test_samples_of_any_type_mean_the_same(extractor, kind):
    coarse = np.round(tone() * 100) / 128  # what eight bits can hold
    scale = {np.int16: 2**15, np.int32: 2**31, np.uint8: 2**7, np.float32: 1}[kind]
    samples = (coarse * scale + (128 if kind is np.uint8 else 0)).astype(kind)
    np.testing.assert_allclose(extractor.signal(samples), coarse, atol=1e-7)


def test_channels_are_mixed_down_and_said_to_be(extractor, caplog):
    both = np.stack([tone(), 0 * tone()])
    with caplog.at_level(logging.WARNING):
        mixed = extractor.signal(both)
    np.testing.assert_allclose(mixed, tone() / 2)
    np.testing.assert_allclose(extractor.signal(both.T), tone() / 2)
    assert "2 channels" in caplog.text


@pytest.mark.parametrize("rate", [2000, 8000, 11_025, 44_100])
def test_another_rate_gives_the_same_tone(extractor, rate):
    heard = extractor.signal({"array": tone(0.5, rate), "sampling_rate": rate})
    assert len(heard) == pytest.approx(0.5 * RATE, abs=1)
    middle = slice(RATE // 8, RATE // 4)  # ends ring
    np.testing.assert_allclose(heard[middle], tone(0.5)[middle], atol=0.02)


def test_a_file_an_array_a_dictionary_and_bytes_are_one_sound(extractor, tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), RATE, subtype="FLOAT")
    expected = tone().astype(np.float32)
    for given in (path, str(path), path.read_bytes(), {"path": str(path)}, {"raw": expected, "sampling_rate": RATE}):
        np.testing.assert_allclose(extractor.signal(given), expected)
    np.testing.assert_allclose(extractor.signal(torch.from_numpy(expected)), expected)
    np.testing.assert_allclose(extractor.signal(expected.tolist()), expected)


def test_what_is_saved_makes_the_same_frames(folder, extractor):
    back = AutoFeatureExtractor.from_pretrained(folder)
    assert type(back) is LMUFeatureExtractor and back.frames == extractor.frames
    assert np.array_equal(back(tone())["input_values"][0], extractor(tone())["input_values"][0])


@pytest.mark.parametrize(
    ("sound", "error", "message"),
    [
        (np.zeros(0), ValueError, "it holds no samples"),
        ([], ValueError, "at least one sound"),
        (np.array([0.0, np.inf]), ValueError, "finite, got inf at sample 1"),
        (np.zeros((20, 30)), ValueError, r"shape \(samples,\) or \(samples, channels\), got \(20, 30\)"),
        ({"array": np.zeros(9), "sampling_rate": 0}, ValueError, "from 1 to 1,000,000, got 0"),
        ({"array": np.zeros(9)}, ValueError, "needs 'sampling_rate'"),
        ({"audio": 1}, ValueError, r"or 'path'; got \['audio'\]"),
        (b"no sound", ValueError, "the sound is not a file of sound"),
        ("nowhere.wav", FileNotFoundError, "there is no file nowhere.wav"),
        (np.array(["a"]), TypeError, "samples must be floats"),
    ],
    ids=str,
)
def test_what_is_no_sound_is_refused_in_one_line(extractor, sound, error, message):
    with pytest.raises(error, match=message) as raised:
        extractor.signal(sound) if not isinstance(sound, list) else extractor(sound)
    assert "\n" not in str(raised.value)


def test_a_bad_sound_of_a_batch_is_counted(extractor):
    with pytest.raises(ValueError, match="sound 1 of 2: it holds no samples"):
        extractor([tone(), np.zeros(0)])


def test_a_file_that_is_no_sound_is_named(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("not a sound")
    with pytest.raises(ValueError, match=r"text\.wav is not a file of sound"):
        read_audio(path)


def test_without_soundfile_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"pip install 'lmu-hf\[audio\]'"):
        read_audio("any.wav")


def test_an_unknown_entry_is_an_error_of_its_name():
    with pytest.raises(ValueError, match="features must be one of"):
        LMUFeatureExtractor(RATE, features="mfcc")
    assert Frames.read({"sampling_rate": RATE}).size == 40


def test_helpers_leave_alone_what_is_right_already():
    signal = tone()
    assert mix_down(signal) is signal and resample(signal, RATE, RATE) is signal


def test_the_pipeline_reads_a_file_an_array_and_a_dictionary_without_ffmpeg(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no ffmpeg, whatever the machine has
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), tone()], 1), RATE, subtype="FLOAT")
    classify = pipeline("audio-classification", model=str(folder), device="cpu")
    expected = classify(tone().astype(np.float32))
    assert len(expected) == 3 and sum(said["score"] for said in expected) == pytest.approx(1)
    path = str(tmp_path / "a.wav")
    for given in (path, (tmp_path / "a.wav").read_bytes(), {"array": tone(), "sampling_rate": RATE}):
        for said, there in zip(classify(given), expected, strict=True):
            assert said["label"] == there["label"] and said["score"] == pytest.approx(there["score"], abs=1e-6)
    assert classify([path, path], batch_size=2, top_k=1) == [classify(path, top_k=1)] * 2


def test_the_pipeline_of_other_families_is_as_it_was(folder):
    class Own:
        sampling_rate = RATE

        def __call__(self, sound, **how):
            return {"input_values": sound}

    classify = pipeline("audio-classification", model=str(folder), device="cpu")
    classify.feature_extractor = Own()
    with pytest.raises(TypeError, match="numpy ndarray or torch tensor"):
        classify.preprocess(3)
