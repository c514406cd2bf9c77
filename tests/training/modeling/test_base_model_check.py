"""The check of a base model: models that would fail later, or score differently when served, are rejected."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from transformers import AutoConfig, AutoModel, AutoTokenizer

from bert_textclassification.artifact.hashing import sha256_of
from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.predictor import Predictor
from bert_textclassification.training.export.build import build_artifact
from bert_textclassification.training.fine_tuning.run import fine_tune
from bert_textclassification.training.modeling import base_model_check
from bert_textclassification.training.modeling.base_model_check import load_checked
from bert_textclassification.training.modeling.base_model_files import find_problem
from bert_textclassification.training.modeling.base_models import find_base_model

SIZES = {
    "vocab_size": 800, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
    "max_position_embeddings": 130, "pad_token_id": 0,
}  # fmt: skip
ENCODERS = {
    "albert": SIZES | {"embedding_size": 32},
    "bert": SIZES,
    "camembert": SIZES,
    "deberta-v2": SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "distilbert": SIZES,
    "electra": SIZES | {"embedding_size": 32},
    "modernbert": SIZES | {"global_attn_every_n_layers": 2, "local_attention": 16},
    "mpnet": SIZES,
    "roberta": SIZES,
    "xlm-roberta": SIZES,
}
TEXTS = ["the lift is stuck with my mother inside", "my card was charged twice", "thank you, all is well"]


@pytest.fixture
def base(tiny_base, tmp_path):
    """A copy of the tiny base model that a test may damage."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


@pytest.fixture
def make(tiny_base, tmp_path):
    """Makes a base model of a family with random weights and the tiny base's tokenizer."""

    def make(family: str, **settings):
        folder = tmp_path / family
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(family, **settings)).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_base / name, folder)
        return folder

    return make


@pytest.mark.parametrize("family", ENCODERS)
def test_encoders_pass(make, tiny_config, family):
    _check(make(family, **ENCODERS[family]), tiny_config, max_length=128)


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet", "roberta"])
@pytest.mark.slow
def test_an_encoder_that_passes_trains_and_serves(make, tiny_config, tiny_splits, tmp_path, family):
    config = tiny_config.model_copy(update={"base_model": str(make(family, **ENCODERS[family])), "epochs": 1})
    artifact = build_artifact(fine_tune(config, tiny_splits, tmp_path / "out"), tiny_splits, tmp_path / "model")
    assert Predictor(artifact).predict(TEXTS)


def test_the_check_changes_neither_the_model_nor_the_random_numbers(tiny_base, tiny_config):
    base = find_base_model(str(tiny_base))
    torch.manual_seed(1)
    untried, drawn = base.classifier(0.1), torch.rand(3)
    torch.manual_seed(1)
    tried = load_checked(base, tiny_config, TEXTS)
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(value, untried.state_dict()[name]) for name, value in tried.state_dict().items())
    assert tried.training == untried.training


# -- files


def _load(path: Path) -> dict[str, torch.Tensor]:
    return load(path.read_bytes())  # `load_file` maps the file, which is written again


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(save(weights, {"format": "pt"}))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _without(*names: str):
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


@pytest.mark.parametrize("name", ["pytorch_model.bin", "tf_model.h5", "rust_model.ot", "model.fp16.safetensors"])
def test_a_pointer_in_place_of_weights_that_are_not_read_is_no_problem(tiny_base, tmp_path, name):
    shutil.copytree(tiny_base, tmp_path / "base")
    _pointer(name)(tmp_path / "base")
    assert find_problem(tmp_path / "base") is None


def test_a_file_of_a_model_that_may_not_be_read_is_named(tiny_base, monkeypatch):
    def forbidden(path, *arguments, **named):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    problem = find_problem(tiny_base)
    assert problem == (
        "has a file that cannot be read, config.json (Permission denied): make it readable for the user who trains"
    )


def _pointer(name: str):
    def damage(folder: Path) -> None:
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n")

    return damage


def _pickled(folder: Path) -> None:
    torch.save(_load(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def _adapter_beside_its_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def _sharded(folder: Path) -> None:
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="150KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def _lacking_a_shard(folder: Path) -> None:
    _sharded(folder)
    next(folder.glob("model-00002-*.safetensors")).unlink()


def _damaged_index(folder: Path) -> None:
    _sharded(folder)
    (folder / "model.safetensors.index.json").write_text("[]")


def _edited(**changes):
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _remote_code(folder: Path) -> None:
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    _edited(model_type="own", auto_map=auto_map)(folder)
    (folder / "own.py").write_text("raise SystemExit('this code was run')\n")


def _other_weights(folder: Path) -> None:
    weights = _load(folder / "model.safetensors")
    _save({f"other.{name}": value for name, value in weights.items()}, folder / "model.safetensors")


def _one_missing_weight(folder: Path) -> None:
    weights = _load(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    _save(weights, folder / "model.safetensors")


def _not_a_number(folder: Path) -> None:
    weights = _load(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][0] = torch.nan
    _save(weights, folder / "model.safetensors")


def _longer_vocabulary(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zeta", "theta"])
    tokenizer.save_pretrained(folder)


def _unknown_words(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    special = {token["content"] for token in content["added_tokens"]}
    content["model"]["vocab"] = {word if word in special else f"§{word}": number for word, number in vocabulary.items()}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def _no_padding_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": None}))


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocabulary.json")
DAMAGES = {
    "an empty folder": (_empty, "has no config.json", "save_pretrained"),
    "no config.json": (_without("config.json"), "has no config.json", "save_pretrained"),
    "a broken config.json": (_broken_config, "has a configuration that cannot be read", "check its config.json"),
    "no model type": (_edited(model_type=None), "has a configuration that cannot be read", "check its config.json"),
    "an unknown model type": (_edited(model_type="brand-new"), "has a configuration", "check its config.json"),
    "code of its own": (_remote_code, "needs code from its repository (trust_remote_code)", "part of transformers"),
    "no weights": (_without("model.safetensors"), "has no model.safetensors", "copy the whole model"),
    "a pickle": (_pickled, "has weights only in pytorch_model.bin", "AutoModel.from_pretrained"),
    "a pointer for weights": (_pointer("model.safetensors"), "git-lfs pointer in place of the file model.safetensors",
                              "git lfs pull"),
    "a pointer for the tokenizer": (_pointer("tokenizer.json"), "in place of the file tokenizer.json", "git lfs pull"),
    "truncated weights": (_truncated, "has a damaged model.safetensors", "copy the model again"),
    "a lost shard": (_lacking_a_shard, "lacks model-00002-of-", "copy the whole model"),
    "a damaged index": (_damaged_index, "has a damaged model.safetensors.index.json", "copy the model again"),
    "an adapter": (_adapter, "is a PEFT adapter (adapter_config.json)", "merge_and_unload()"),
    "an adapter beside its model": (_adapter_beside_its_model, "is a PEFT adapter", "merge_and_unload()"),
    "weights of something else": (_other_weights, "has no weights for embeddings", "save the encoder"),
    "one missing weight": (_one_missing_weight, "has no weights for encoder.layer.1.output.dense.weight;", "save"),
    "another width": (_edited(hidden_size=32), "cannot be loaded", "copy the model again"),
    "weights that are not numbers": (_not_a_number, "logits that are not finite numbers", "copy the model again"),
    "no tokenizer files": (_without(*TOKENIZER_FILES), "has no tokenizer files", "copy tokenizer.json"),
    "a vocabulary of something else": (_unknown_words, "does not know", "copy the tokenizer files that belong"),
    "a vocabulary that grew": (_longer_vocabulary, "has embeddings for 800 tokens and a tokenizer of 802",
                               "resize_token_embeddings(802)"),
    "no padding token": (_no_padding_token, "has no padding token", "set tokenizer.pad_token"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_base_model_that_cannot_be_used_is_rejected_before_training(base, tiny_config, tiny_splits, tmp_path, damage):
    change, reason, remedy = DAMAGES[damage]
    change(base)
    config = tiny_config.model_copy(update={"base_model": str(base)})
    with pytest.raises(ConfigurationError) as problem:
        fine_tune(config, tiny_splits, tmp_path / "out")
    message = _one_sentence(problem.value)
    assert f"base_model {str(base)!r}" in message
    assert reason in message
    assert remedy in message
    assert not (tmp_path / "out").exists()


def test_the_conversion_that_a_refusal_names_works(base, tiny_config):
    _pickled(base)
    with pytest.raises(ConfigurationError) as problem:
        find_base_model(str(base))
    code = re.search(r'python -c "(.+)"', str(problem.value))[1]
    exec(code, {})  # noqa: S102 - what the sentence tells a user to run
    (base / "pytorch_model.bin").unlink()
    _check(base, tiny_config)


@pytest.mark.slow
def test_weights_in_several_files_train(base, tiny_config, tiny_splits, tmp_path):
    whole = find_base_model(str(base)).source()
    _sharded(base)
    config = tiny_config.model_copy(update={"base_model": str(base), "epochs": 0.2})
    fine_tuned = fine_tune(config, tiny_splits, tmp_path / "out")
    source = find_base_model(str(base)).source()
    assert fine_tuned.facts["base_model"]["sha256"] == source.sha256 != whole.sha256
    shard = next(base.glob("model-00001-*.safetensors"))
    _save({name: value + 1 for name, value in _load(shard).items()}, shard)
    assert find_base_model(str(base)).source().sha256 != source.sha256


def test_the_hash_of_weights_in_one_file_is_that_of_the_file(base):
    assert find_base_model(str(base)).source().sha256 == sha256_of(base / "model.safetensors")


# -- shapes


@pytest.mark.parametrize(
    ("family", "positions"), [("bert", 130), ("distilbert", 130), ("roberta", 129), ("mpnet", 128)]
)
def test_more_tokens_than_positions_are_rejected_with_the_number(make, tiny_config, family, positions):
    folder = make(family, **ENCODERS[family])
    _check(folder, tiny_config, max_length=positions)
    message = _refusal(folder, tiny_config, max_length=positions + 1)
    assert (
        f"reads {positions} tokens at most and max_length is {positions + 1}; set max_length to {positions}" in message
    )


@pytest.mark.slow
def test_a_model_that_reads_more_than_512_tokens_is_trained_and_served_on_them(
    make, tiny_config, tiny_splits, tmp_path
):
    folder = make("bert", **SIZES | {"max_position_embeddings": 700})
    config = tiny_config.model_copy(update={"base_model": str(folder), "max_length": 700, "epochs": 0.2})
    artifact = build_artifact(fine_tune(config, tiny_splits, tmp_path / "out"), tiny_splits, tmp_path / "model")
    for variant in artifact.manifest.variants:
        predictor = Predictor(artifact, variant)
        assert predictor.predict(["the lift is stuck " * 400])[0].tokens == 700


DECODERS = {
    "gpt2": ({"vocab_size": 800, "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 130}, "(gpt2) is a decoder"),
    "bert": (SIZES | {"is_decoder": True}, "(bert) is a decoder"),
    "t5": (
        {"vocab_size": 800, "d_model": 64, "num_layers": 2, "num_heads": 2, "d_kv": 32, "d_ff": 128},
        "(t5) has an encoder and a decoder",
    ),
    "clip": ({}, "(clip) has no hidden_size in its configuration"),
    "vit": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
        "base_model",
    ),
    "fnet": (
        {"vocab_size": 800, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "pad_token_id": 0},
        "cannot be exported to ONNX",
    ),
}


@pytest.mark.parametrize("family", DECODERS)
def test_a_model_that_is_not_a_text_encoder_is_rejected(make, tiny_config, family):
    settings, reason = DECODERS[family]
    if family == "clip":
        small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        settings = {"text_config": small, "vision_config": small}
    message = _refusal(make(family, **settings), tiny_config)
    assert reason in message
    assert "choose an encoder of texts" in message


@pytest.mark.parametrize(("family", "lacks"), [("encodec", "num_hidden_layers"), ("resnet", "hidden_size")])
def test_a_model_without_a_number_of_layers_or_a_width_is_rejected(base, family, lacks):
    AutoConfig.for_model(family).save_pretrained(base)
    model = find_base_model(str(base))
    for use in (model.layers, lambda: model.classifier(0.1)):
        with pytest.raises(ConfigurationError, match=rf"\({family}\) has no {lacks} in its configuration; choose"):
            use()


# -- the exported form


def test_an_encoder_that_cannot_be_exported_is_rejected(tiny_base, tiny_config, monkeypatch):
    base = find_base_model(str(tiny_base))
    model = base.classifier(0.1)
    forward = model.encoder.forward

    def with_an_operator_that_onnx_lacks(*args, **kwargs):
        answer = forward(*args, **kwargs)
        answer.last_hidden_state = torch.special.bessel_j0(answer.last_hidden_state)
        return answer

    monkeypatch.setattr(model.encoder, "forward", with_an_operator_that_onnx_lacks)
    with pytest.raises(
        ConfigurationError, match=r"cannot be exported to ONNX \(.*bessel.*\); choose an encoder"
    ) as problem:
        base_model_check.check_model("own", model, base.tokenizer(), 64, TEXTS)
    _one_sentence(problem.value)


def test_an_encoder_whose_exported_form_scores_otherwise_is_rejected(tiny_base, monkeypatch):
    base = find_base_model(str(tiny_base))
    model = base.classifier(0.1)
    forward = model.encoder.forward

    def with_a_branch_that_export_fixes(*args, **kwargs):
        answer = forward(*args, **kwargs)
        if kwargs["input_ids"].shape[1] > 20:
            answer.last_hidden_state = 2 * answer.last_hidden_state
        return answer

    monkeypatch.setattr(model.encoder, "forward", with_a_branch_that_export_fixes)
    with pytest.raises(ConfigurationError, match="gives other logits in ONNX Runtime than in torch"):
        base_model_check.check_model("own", model, base.tokenizer(), 64, TEXTS)


def test_an_encoder_that_is_too_large_for_one_onnx_file_is_rejected(tiny_base, tiny_config, monkeypatch):
    monkeypatch.setattr(base_model_check, "ONNX_BYTES", 100_000)
    assert "GiB of weights, and ONNX supports 2; choose a smaller model" in _refusal(tiny_base, tiny_config)


def _check(folder: Path, config, **settings):
    changed = config.model_copy(update={"base_model": str(folder)} | settings)
    return load_checked(find_base_model(changed.base_model), changed, TEXTS)


def _refusal(folder: Path, config, **settings) -> str:
    with pytest.raises(ConfigurationError) as problem:
        _check(folder, config, **settings)
    return _one_sentence(problem.value)


def _one_sentence(problem) -> str:
    message = str(problem)
    assert re.fullmatch(r"[^\n]+\.", message), message
    assert not re.search(r"\. [A-Z]", message), message
    return message
