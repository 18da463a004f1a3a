"""`lmu-hf label` on a folder of sounds: each file gets what the model says of it alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from lmu_hf import LMUFeatureExtractor, LMUForAudioClassification
from lmu_hf.cli.command import run_verb
from lmu_hf.frames_lmu import Frames
from tiny_heads import LABELS, build

RATE = 1000
FRAMES = Frames(RATE, bands=5, adaptation=7.0, mean=[-3.0] * 5, deviation=[2.0] * 5)


def write_sound(path: Path, samples: int, seed: int, channels: int = 1) -> None:
    path.parent.mkdir(exist_ok=True)
    wave = np.random.default_rng(seed).normal(0, 3000, (samples, channels)).astype(np.int16)
    wavfile.write(path, RATE, wave)


@pytest.fixture
def folder(tmp_path) -> Path:
    model = build(
        LMUForAudioClassification, torch.float32, input_size=5, audio=FRAMES.record, pooling="mean", architectures=None
    )
    model.save_pretrained(tmp_path / "model")
    LMUFeatureExtractor(**FRAMES.record).save_pretrained(tmp_path / "model")
    write_sound(tmp_path / "sounds" / "b.wav", 400, seed=0)
    write_sound(tmp_path / "sounds" / "a" / "one.WAV", 1, seed=1)
    write_sound(tmp_path / "sounds" / "a" / "two.wav", 20_000, seed=2, channels=2)
    return tmp_path


def test_every_sound_of_a_folder_is_labelled(folder):
    words = [str(folder / "model"), "--data_dir", str(folder / "sounds"), "--output_file", str(folder / "labels.jsonl")]
    counts = run_verb("label", argv=words, manual=None)
    rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["sound"] for row in rows] == ["a/one.WAV", "a/two.wav", "b.wav"] and sum(counts.values()) == 3
    model = LMUForAudioClassification.from_pretrained(folder / "model").eval()
    extractor = LMUFeatureExtractor.from_pretrained(folder / "model")
    for row in rows:
        with torch.no_grad():
            logits = model(**extractor(str(folder / "sounds" / row["sound"]), return_tensors="pt")).logits[0]
        names, scores = model.config.id2label, logits.softmax(-1)
        assert row["label"] == names[int(logits.argmax())] and len(names) == LABELS
        for number, name in names.items():
            assert row[f"score_{name}"] == pytest.approx(float(scores[number]), rel=5e-4)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda sounds: (sounds / "c.wav").write_bytes(b"no sound"), r"c\.wav"),
        (lambda sounds: wavfile.write(sounds / "empty.wav", RATE, np.zeros(0, np.int16)), r"empty\.wav.*no samples"),
        (lambda sounds: [path.unlink() for path in sounds.rglob("*.*")], "holds no sound"),
    ],
)
def test_a_file_that_will_not_do_is_named_and_nothing_is_written(folder, spoil, said, capsys):
    spoil(folder / "sounds")
    written = folder / "labels.csv"
    with pytest.raises(SystemExit, match=said):
        run_verb(
            "label",
            argv=[str(folder / "model"), "--data_dir", str(folder / "sounds"), "--output_file", str(written)],
            manual=None,
        )
    assert not written.exists()
