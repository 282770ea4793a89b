"""Settings from files and overrides: which wins, and what is refused."""

from pathlib import Path

import pytest

from astec.trainer.settings.config import ConfigError, TrainerConfig
from astec.trainer.settings.config_file import dump_config, load_config, seed_settings
from astec.trainer.settings.listing import changed_settings


def test_the_defaults_are_those_of_the_sections() -> None:
    assert load_config(None, []) == TrainerConfig()


def test_an_override_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "astec.toml"
    file.write_text("[model]\ndim = 64\ndropout = 0.25\n[extreme]\nepochs = 3\n")
    config = load_config(file, ["model.dim=128"])
    assert (config.model.dim, config.model.dropout, config.extreme.epochs) == (128, 0.25, 3)
    assert config.surrogate == TrainerConfig().surrogate


def test_the_last_of_two_overrides_wins() -> None:
    assert load_config(None, ["seeds=[1]", "seeds=[2]"]).seeds == (2,)


@pytest.mark.parametrize(
    ("seed", "seeds", "expected"),
    [(None, None, (0,)), (7, None, (7,)), (None, "5", (5,)), (None, "1,2,3", (1, 2, 3)), (None, "007", (7,))],
)
def test_seeds_of_the_command_line(seed: int | None, seeds: str | None, expected: tuple[int, ...]) -> None:
    assert load_config(None, seed_settings(seed, seeds)).seeds == expected


@pytest.mark.parametrize("seeds", ["", "1,", ",1", "1,,2", "1 2", "1;2", "one", "-1", "1.5", "[1]", "٣"])
def test_seeds_that_are_no_numbers_are_refused(seeds: str) -> None:
    with pytest.raises(ConfigError, match="--seeds takes numbers with commas between, for example 1,2,3, not"):
        seed_settings(None, seeds)


def test_a_seed_beside_seeds_is_refused() -> None:
    with pytest.raises(ConfigError, match="--seed 1 and --seeds 2,3 exclude each other"):
        seed_settings(1, "2,3")


def test_one_setting_of_a_section_leaves_the_others_at_their_defaults(tmp_path: Path) -> None:
    file = tmp_path / "astec.toml"
    file.write_text("[shortlist]\nhead_labels = 8\n")
    shortlist = load_config(file, ["shortlist.points.neighbours=10"]).shortlist
    default = TrainerConfig().shortlist
    assert shortlist.points.neighbours == 10
    assert shortlist.centroids == default.centroids
    assert shortlist == default.model_copy(update={"head_labels": 8, "points": shortlist.points})


def test_settings_of_the_graphs_of_former_versions_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "astec.toml"
    file.write_text(
        "[shortlist]\ncentroids = { m = 8, ef_construction = 9, neighbours = 7 }\npoints = { ef_search = 3 }\n"
    )
    shortlist = load_config(file, []).shortlist
    assert shortlist.centroids.neighbours == 7
    assert shortlist.points == TrainerConfig().shortlist.points
    told = " ".join(capsys.readouterr().err.split()) + " ".join(capsys.readouterr().out.split())
    for name in ("centroids.m", "centroids.ef_construction", "points.ef_search"):
        assert f"shortlist.{name}" in told


def test_a_graph_setting_on_the_command_line_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no setting shortlist\.centroids\.m"):
        load_config(None, ["shortlist.centroids.m=8"])


def test_what_is_dumped_is_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    config = load_config(
        None, ["seeds=[5,6]", "model.dropout=0.1", "shortlist.points.neighbours=5", "featurizer.min_char_ngram=2"]
    )
    file.write_bytes(dump_config(config))
    assert load_config(file, []) == config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.dimm=64", ["no setting model.dimm", "did you mean model.dim?"]),
        ("extreme.epoch=64", ["did you mean extreme.epochs?"]),
        ("qqq=1", ["no setting qqq", "there are seeds, "]),
        ("qqq.zzz=1", ["no setting qqq"]),
        ("encoder.kind=cnn", ["encoder: there is no encoder 'cnn'; there are boe, mlp, "]),
        ("encoder.layers=2", ["encoder: encoder.kind boe has no setting layers; it has kind"]),
        ('encoder={kind="mlp", layers=0}', ["encoder: encoder.layers = 0", "greater than or equal to 1"]),
        ('encoder={kind="xml-cnn", chunks=5}', ["encoder: 5 chunks of 32 words are not equal"]),
        ("model.dim=7", ["model.dim = 7", "greater than or equal to 8"]),
        ("model.dim=many", ["model.dim = 'many'", "integer"]),
        ("model.dim=", ["model.dim = ''", "integer"]),
        ("model.dropout=1", ["model.dropout = 1", "less than 1"]),
        ("model.spectral_bound=0", ["model.spectral_bound", "greater than 0"]),
        ("extreme.learning_rate=nan", ["extreme.learning_rate", "finite"]),
        ("validation.fraction=0.5", ["validation.fraction", "less than 0.5"]),
        ("shortlist.points.neighbours=0", ["shortlist.points.neighbours = 0", "greater than or equal to 1"]),
        ("featurizer.min_char_ngram=5", ["featurizer: min_char_ngram is 5 and max_char_ngram 4"]),
        ("model.precision=float16", ["model.precision = 'float16'", "'auto', 'float32' or 'bfloat16'"]),
        ("model=3", ["model = 3"]),
        ("seeds=[-1]", ["seeds.0 = -1", "greater than or equal to 0"]),
        ("seeds=[]", ["seeds", "at least 1 item"]),
        ("seeds=[1, 2, 1]", ["[1, 2, 1] names a seed twice"]),
        ("seeds=[2147483648]", ["seeds.0 = 2147483648", "less than 2147483648"]),
        ("seeds.x=3", ["seeds is no section"]),
        ("model.dim", ["section.key=value", "'model.dim'"]),
        ("=3", ["section.key=value", "'=3'"]),
    ],
)
def test_a_bad_override_is_refused_by_name(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [override])
    for word in words:
        assert word in str(refused.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"model\.dim = 1.*extreme\.epochs = 0"):
        load_config(None, ["model.dim=1", "extreme.epochs=0"])


@pytest.mark.parametrize("content", [b"model = [", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "astec.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*astec\.toml"):
        load_config(file, [])


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load_config(tmp_path / "nothing.toml", [])


def test_an_encoder_that_is_more_than_its_embeddings_must_be_trained() -> None:
    overrides = ["encoder.kind=gru", "surrogate.method=unsupervised", "surrogate.embeddings=corpus"]
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    assert str(caught.value) == "surrogate.method unsupervised trains nothing, and encoder.kind gru must be trained"


def test_settings_of_another_kind_of_encoder_survive_a_file(tmp_path: Path) -> None:
    config = load_config(None, ["encoder.kind=xml-cnn", "encoder.length=16", "encoder.windows=[3]"])
    (tmp_path / "config.toml").write_bytes(dump_config(config))
    assert load_config(tmp_path / "config.toml", []) == config
    assert changed_settings(config) == {"encoder.kind": "xml-cnn", "encoder.length": 16, "encoder.windows": (3,)}
