"""Marks that transformers' own tests carry."""

MARKS = (
    *("generate", "accelerate_tests", "torch_compile_test", "not_device_test", "training_ci", "is_training_test"),
    *("flash_attn_test", "flash_attn_3_test", "flash_attn_4_test"),
)


def pytest_configure(config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: of transformers' own tests")
