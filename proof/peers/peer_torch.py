"""The artefact's checkpoint as a Hugging Face model: a BERT, mean pooling, a linear head.

`folder` writes it out as `save_pretrained` does, for those that load from a path.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from peer_inputs import Inputs
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    BertPreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import SequenceClassifierOutput

GRAPH = "model.onnx"
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}


class MeanPooledConfig(BertConfig):
    """A BERT's, under a name of its own."""

    model_type = "mean-pooled-bert"


class MeanPooledBertForSequenceClassification(BertPreTrainedModel):
    """Logits from the mean of the tokens that are not padding."""

    config_class = MeanPooledConfig

    def __init__(self, config: MeanPooledConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        **_: object,
    ) -> SequenceClassifierOutput:
        """Logits [batch, labels] from int64 tensors [batch, tokens]."""
        tokens = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        return SequenceClassifierOutput(logits=self.classifier(mean))


def register() -> None:
    """Let the Auto classes find the model by its config."""
    AutoConfig.register(MeanPooledConfig.model_type, MeanPooledConfig)
    AutoModelForSequenceClassification.register(
        MeanPooledConfig, MeanPooledBertForSequenceClassification
    )


def load(artefact: Path) -> MeanPooledBertForSequenceClassification:
    """The model of an artefact whose checkpoint is one BERT.

    Raises:
        SystemExit: the checkpoint is of another architecture.
    """
    checkpoint = artefact / "checkpoint"
    found = json.loads((checkpoint / "config.json").read_text())
    if found.get("model_type") != "bert":
        raise SystemExit(f"{checkpoint}: not a BERT, which this peer's model class is made for")
    labels = Inputs(artefact).labels
    given = {key: value for key, value in found.items() if key not in ("model_type", "dtype")}
    given["id2label"] = dict(enumerate(labels))
    given["label2id"] = {label: number for number, label in enumerate(labels)}
    model = MeanPooledBertForSequenceClassification(MeanPooledConfig(**given))
    body = load_file(checkpoint / "model.safetensors")
    missing, _ = model.bert.load_state_dict(body, strict=False)
    if missing:
        raise SystemExit(f"{checkpoint}: lacks weights: {', '.join(missing[:3])}")
    model.classifier.load_state_dict(load_file(checkpoint / "head.safetensors"))
    return model.eval()


def tokenizer(artefact: Path) -> PreTrainedTokenizerFast:
    """The artefact's tokenizer in the class that pipelines take."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(artefact / "tokenizer.json"),
        model_max_length=Inputs(artefact).max_tokens,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )


def folder(artefact: Path, target: Path, graph: str = "") -> Path:
    """Write model and tokenizer into `target`, or the `graph` of the artefact in its place."""
    model = load(artefact)
    tokenizer(artefact).save_pretrained(target)
    if graph:
        known = model.config.to_dict() | {"architectures": ["BertForSequenceClassification"]}
        known.pop("model_type")
        BertConfig(**known).save_pretrained(target)
        shutil.copy(artefact / graph, target / GRAPH)
    else:
        model.save_pretrained(target)
    return target
