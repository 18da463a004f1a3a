"""Write a saved model as ONNX files, and compare them with it: `lmu-hf export`.

    python scripts/export_onnx.py runs/opinions-seed0/model opinions-onnx       # model.onnx
    python scripts/export_onnx.py ORG/lmu-python lm-onnx                        # prompt.onnx and step.onnx
    python scripts/export_onnx.py runs/dates-seed0/model dates --format pt2     # torch.export programs

It has the flags of that verb.
"""

from lmu_hf_cli import run

if __name__ == "__main__":
    run("export", __doc__)
