"""What other tools make of a model of the family: each a small case whose right value is known.

`make ecosystem` runs this in an environment of its own, where the tools are; elsewhere a tool that is missing is left
out. What stands in a test of its own: peft, torchao, quanto and bitsandbytes in test_adapted.py, trl in test_trl.py,
onnxruntime in test_export.py, OpenAI's client in test_serving.py.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lmu_hf import LMUConfig, LMUForCausalLM, LMUForSequenceClassification, LMUModel, train_tokenizer
from script_runs import run_script

pytestmark = pytest.mark.ecosystem
TEXT = "the film was good and the actors were not bad at all, all in all a fine evening of it"
PROJECT = Path(__file__).parent.parent
SERIES = {"input_size": 1, "hidden_size": 8, "num_hidden_layers": 1, "order": 4, "theta": 12.0, "num_labels": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """A language model and a bare body, each saved with one tokenizer of characters."""
    tokenizer = train_tokenizer("char", [TEXT], padding_side="right")
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LMUConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, order=4, theta=[4, 16], **ids)
    torch.manual_seed(0)
    made = {}
    for kind in (LMUForCausalLM, LMUModel):
        folder = tmp_path_factory.mktemp(kind.__name__)
        for part in (kind(config), tokenizer):
            part.save_pretrained(folder)
        made[kind.__name__] = str(folder)
    return made


def halves(rows: int = 96) -> tuple[Tensor, Tensor]:
    """Series of 12 numbers, and whether their first half is the larger one."""
    x = torch.randn(rows, 12, generator=torch.Generator().manual_seed(0))
    return x, (x[:, :6].sum(1) > x[:, 6:].sum(1)).long()


def classifier(**changes) -> LMUForSequenceClassification:
    torch.manual_seed(0)
    return LMUForSequenceClassification(LMUConfig(**SERIES | changes))


def test_lightning_trains_checkpoints_and_loads(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Halves(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = classifier()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return self.model(input_values=batch[0], labels=batch[1]).loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    x, y = halves()
    module = Halves()
    with torch.no_grad():
        before = float(module.model(input_values=x, labels=y).loss)
    trainer = lightning.Trainer(
        max_epochs=30, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 32))
    trainer.save_checkpoint(tmp_path / "halves.ckpt")
    again = Halves.load_from_checkpoint(tmp_path / "halves.ckpt", weights_only=True).eval()
    with torch.no_grad():
        out = again.model(input_values=x, labels=y)
        assert torch.equal(out.logits, module.eval().model(input_values=x).logits)
    assert float(out.loss) < before / 2


def test_skorch_fits_and_predicts():
    skorch = pytest.importorskip("skorch")

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = classifier()

        def forward(self, x: Tensor) -> Tensor:
            return self.model(input_values=x).logits

    x, y = halves()
    net = skorch.NeuralNetClassifier(
        Logits, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=0.01, max_epochs=40, verbose=0
    )
    net.set_params(train_split=None, batch_size=32).fit(x.numpy(), y.numpy())
    assert net.score(x.numpy(), y.numpy()) > 0.9
    np.testing.assert_allclose(net.predict_proba(x.numpy()).sum(1), 1, rtol=1e-5)


def test_captums_attributions_of_steps_sum_to_the_change_of_the_logit():
    attr = pytest.importorskip("captum.attr")
    model, (x, _) = classifier(block_type="lmu").eval(), halves(4)  # smooth: no norm of a number that may be zero
    gradients = attr.IntegratedGradients(lambda values: model(input_values=values).logits[:, 1])
    found = gradients.attribute(x, torch.zeros_like(x), n_steps=200)
    with torch.no_grad():
        change = (model(input_values=x).logits - model(input_values=torch.zeros_like(x)).logits)[:, 1]
    torch.testing.assert_close(found.sum(1).float(), change, rtol=0, atol=1e-4)


def test_shap_values_of_steps_sum_to_the_prediction():
    shap = pytest.importorskip("shap")
    model, (x, _) = classifier().eval(), halves(8)

    def logit(values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(input_values=torch.as_tensor(values, dtype=torch.float32)).logits[:, 1].double().numpy()

    values = x.numpy().astype(np.float64)
    explained = shap.explainers.Permutation(logit, values, seed=0)(values[:3], silent=True)
    np.testing.assert_allclose(explained.values.sum(1) + explained.base_values, logit(values[:3]), rtol=0, atol=1e-5)


def test_sentence_transformers_pools_the_hidden_states(folders):
    sentences = pytest.importorskip("sentence_transformers")
    model = sentences.SentenceTransformer(folders["LMUModel"], device="cpu")  # the mean, where a folder says no more
    texts = ["a good film", "not bad at all, all in all"]
    found = torch.as_tensor(model.encode(texts))
    plain = LMUModel.from_pretrained(folders["LMUModel"]).eval()
    for text, vector in zip(texts, found, strict=True):  # each alone: padding changes nothing
        with torch.no_grad():
            hidden = plain(**model.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        torch.testing.assert_close(vector, hidden.mean(0), rtol=0, atol=1e-5)


def test_lm_eval_scores_what_the_model_does(folders):
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    judge = HFLM(pretrained=folders["LMUForCausalLM"], device="cpu", batch_size=2)
    asked = [("the film was", " good"), ("all in", " all")]
    found = judge.loglikelihood([Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(asked)])
    model = LMUForCausalLM.from_pretrained(folders["LMUForCausalLM"]).eval()
    for (context, ending), (score, _) in zip(asked, found, strict=True):
        ids = judge.tokenizer(context + ending, return_tensors="pt", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0, len(context) - 1 : -1]
        assert score == pytest.approx(-float(cross_entropy(logits, ids[0, len(context) :], reduction="sum")), abs=1e-4)


def test_openvino_computes_what_the_model_does(tmp_path):
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    from lmu_hf.hub.export import export

    model, (x, _) = classifier().eval(), halves(3)
    [path] = [path for path in export(model, tmp_path) if path.stem == "model"]
    compiled = openvino.compile_model(path, "CPU")
    given = {"input_values": x[:, :, None].numpy(), "attention_mask": np.ones((3, 12), np.int64)}
    names = {name for port in compiled.inputs for name in port.names}
    found = compiled({name: given[name] for name in names})[0]
    with torch.no_grad():
        np.testing.assert_allclose(found, model(input_values=x).logits.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_trackers_get_every_loss(tracker, tmp_path):
    pytest.importorskip(tracker)
    run = tmp_path / "run"
    words = ["--max_train_steps", 4, "--eval_steps", 2, "--rows", 60, "--report_to", tracker, "--output_dir", run]
    places = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "TRACKIO_DIR": str(tmp_path)}
    done = run_script(PROJECT / "scripts" / "train_glue.py", *words, cwd=tmp_path, **places)
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert logged
    read = {"wandb": _read_wandb, "trackio": _read_trackio}[tracker](tmp_path)
    for row in logged:
        assert any(row["train_loss"] == pytest.approx(value, rel=1e-6) for value in read["train_loss"])


def _read_wandb(folder: Path) -> dict[str, list[float]]:
    # What wandb would send later lies in a log of protocol buffers, in which numbers are text.
    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    return {"train_loss": [float(text) for text in re.findall(rb"train_loss\x82\x01.([-+.e\d]+)", path.read_bytes())]}


def _read_trackio(folder: Path) -> dict[str, list[float]]:
    import sqlite3

    values: dict[str, list[float]] = {}
    for path in folder.glob("*.db"):
        with sqlite3.connect(path) as database:
            for (text,) in database.execute("select metrics from metrics"):
                for name, value in json.loads(text).items():
                    values.setdefault(name, []).append(value)
    return values


def test_setfit_learns_from_eight_texts(folders):
    setfit = pytest.importorskip("setfit")
    sentences = pytest.importorskip("sentence_transformers")
    body = sentences.SentenceTransformer(folders["LMUModel"], device="cpu")
    model = setfit.SetFitModel(model_body=body, model_head=LogisticRegression(C=1000.0))
    texts = ["good film", "fine evening", "good actors", "a fine film", "not good", "not fine", "not a film", "not it"]
    labels = [1, 1, 1, 1, 0, 0, 0, 0]
    model.fit(texts, labels, num_epochs=1)
    assert [int(label) for label in model.predict(texts)] == labels
