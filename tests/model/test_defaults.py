"""The defaults are the paper's values, and the size that follows from them."""

import pytest
import torch

from rfpmss.config import (
    AssignmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    paper,
)
from rfpmss.model.features import Text
from rfpmss.model.report import ReportEncoder
from rfpmss.model.rfpmss import RFPMSS, count
from tests.model.small import WORDS, random_batch, small_config

PAPER = {
    DataConfig: {"resize": 256, "size": 224, "tokens": 100, "rotation": 10.0, "flip": 0.5},
    ModelConfig: {
        **{"backbone": "vit", "trunk": "shared", "patch": 16, "dim": 768, "depth": 12},
        **{"heads": 12, "mlp": 3072, "activation": "mish", "position": "concatenate"},
        **{"recurrent": "concatenate", "fusion": "view", "text_dim": 768, "text_depth": 12},
        **{"text_heads": 12, "text_mlp": 3072, "text_pooling": "pooler", "text_frozen": 0},
        **{"decoder_dim": 1024, "decoder_heads": 16, "decoder_mlp": 4096, "decoder_depth": 1},
        **{"decoder_prenorm": False, "dropout": 0.1, "token_dim": 4096, "joint_heads": 64},
        **{"joint_mlp": 4096, "joint_dim": 6144, "anchors": 64, "rebuild": False, "thick": 1},
        **{"image_weights": None, "text_weights": None, "text": None, "slice_pooling": "mean"},
        **{"standardise": False, "study_words": False, "token_types": True},
        "resnet_width": 64,
    },
    AssignmentConfig: {
        **{"k": 32, "eps": 0.07, "damping": 0.25, "solver": "newton", "steps": 20, "bank": 5500},
        **{"start": "full", "loads": None, "tail": 0.0, "slack": 0.0},
        **{"order": "row-column-depth"},
    },
    LossConfig: {
        **{"language": 1.0, "contrast": 1.0, "consistency": 1.0, "nce": 1.0, "temperature": 0.1},
        **{"kappa": 0.05, "similarity": "product", "max_logit": None, "report_weight": 1.0},
        **{"other_weight": 0.1, "pairs": "paper", "readout": "minmax", "symmetric": False},
        **{"structure": "sspc", "pair_weights": None, "stop_gradient": False},
    },
    TrainConfig: {
        **{"optimiser": "adam", "lr": 5e-5, "epochs": 15, "decay": 0.9, "clip": 0.0},
        **{"text_rate": 1.0, "warmup": 0.1, "weight_decay": 0.0, "stage": "joint"},
    },
}


@pytest.mark.parametrize("section", list(PAPER))
def test_a_section_without_arguments_has_the_values_of_the_paper(section):
    for name, value in PAPER[section].items():
        assert getattr(section(), name) == value, name


def test_every_reading_of_model_loss_and_assignment_is_pinned_above():
    for section, left_out in ((ModelConfig, {"recompute"}), (LossConfig, set())):
        assert set(section.model_fields) - left_out == set(PAPER[section])
    assert set(AssignmentConfig.model_fields) == set(PAPER[AssignmentConfig])


def test_the_preset_paper_takes_these_values():
    config = paper()
    for section in (config.data, config.model, config.assignment, config.loss, config.train):
        for name, value in PAPER[type(section)].items():
            # The paper says no length, REFERS reads 100: too few for reports of brains.
            assert getattr(section, name) == (512 if name == "tokens" else value), name


def test_parameters_of_the_paper_are_those_worked_out_part_by_part():
    config = paper()
    with torch.device("meta"):
        parts = count(RFPMSS(config.model, config.data, config.data.vocabulary))
    d, words, length = 768, 10_000, 512
    layer = 12 * d**2 + 13 * d  # attention, perceptron, two norms, all with biases
    bert = (words + length + 2) * d + 2 * d + 12 * layer + d**2 + d
    assert parts["report"] == bert + d * 3 * d + 3 * d
    w, f = 1024, 4096
    attention, perceptron = 4 * w**2 + 4 * w, 2 * w * f + w + f
    decoder = 2 * attention + perceptron + 3 * 2 * w
    assert parts["decoder"] == decoder + d * w + w + words * w + length * w + 2 * w + words
    assert parts["fuse"] == 3 * d * d + d + 3 * d + 3
    assert parts == {
        **{"image": 89_537_280, "fuse": 1_772_547, "report": 95_493_120},
        **{"decoder": 28_360_464, "project": 734_281_728, "anchors": 2_621_440},
        "total": 952_066_579,
    }


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
def test_the_report_vector_is_a_linear_map_of_the_pooled_output(pooling):
    torch.manual_seed(0)
    config = small_config(text_pooling=pooling)
    encoder = ReportEncoder(config.model, WORDS, config.data.tokens, 7).double().eval()
    tokens = random_batch(config, size=3).tokens
    out: Text = encoder(tokens, torch.ones(3).bool())
    hidden = encoder.bert(tokens, attention_mask=(tokens != 0).long()).last_hidden_state
    for row in range(3):
        words = hidden[row, tokens[row] != 0]
        if pooling == "mean":
            pooled = words.mean(0)
        elif pooling == "cls":
            pooled = words[0]
        else:
            dense = encoder.bert.pooler.dense
            pooled = torch.tanh(dense.weight @ words[0] + dense.bias)
        expected = encoder.project.weight @ pooled + encoder.project.bias
        torch.testing.assert_close(out.vectors[row], expected, rtol=0, atol=1e-9)
