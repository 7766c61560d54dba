"""The public names of both sides. Changing this list needs a line in CHANGELOG.md."""

import importlib

import pytest

PUBLIC = {
    "slr": ["Answer", "Hit", "Recognizer", "Retriever", "Segment", "SignBatch", "Transcript", "Word"],
    "asr": ["Recognizer", "Segment", "Transcript", "Word"],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == PUBLIC[package]
    for name in PUBLIC[package]:
        assert getattr(module, name).__doc__, name
    with pytest.raises(AttributeError, match="Nothing"):
        _ = module.Nothing
