"""The sections of a configuration: frozen, checked, the paper's values as defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

VIEWS = ("ct", "mri", "pathology")
"""The imaging modalities, in the order of every tensor axis that runs over views."""

MODALITIES = (*VIEWS, "report")
"""All modalities, in the order of every tensor axis that runs over modalities."""

CHANNELS = {"ct": 3, "mri": 4, "pathology": 3}
"""Input channels of a view: three CT windows, four MRI sequences, red-green-blue."""

SEQUENCES = (
    *("t1", "t1ce", "t2", "flair"),
    *("pd", "swi", "dwi", "adc", "mra", "perfusion", "other"),
)
"""What an MRI sequence can be called; ``other``: none of the rest, or not known. The first four are
the channels of MRI slices."""

PAD, UNK, START, END = range(4)
"""Token ids with a meaning of their own."""


# What a file of somebody else may ask for: far above any use, far below what stops a machine.
Width = Annotated[int, Field(gt=0, le=65_536)]
Depth = Annotated[int, Field(gt=0, le=1_024)]
Count = Annotated[int, Field(gt=0, le=100_000_000)]
Side = Annotated[int, Field(gt=0, le=8_192)]
SEED = 2**63 - 1
MOST_PIXELS = 1 << 28
"""Of all images of a view of a study, as they are read."""
MOST_PATCHES = 65_536
"""Of an image; attention compares each with each."""
# Factors, rates and temperatures: float32 has room above and below for what is made of them.
LEAST, MOST = 1e-12, 1e12
Factor = Annotated[float, Field(ge=0.0, le=MOST)]
Positive = Annotated[float, Field(ge=LEAST, le=MOST)]


class Frozen(BaseModel):
    """A configuration section: frozen, keyword-only, unknown names refused.

    A field's docstring ends with its unit and its source, ``[pixels; paper]``; its bounds are put
    between them for ``--help``.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: object, info: Any) -> object:
        """Refuse true and false as numbers, which Python takes for 1 and 0."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind is not bool and _switches(value):
            raise ValueError("must be a value, not true or false")
        return value

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        for field in cls.model_fields.values():
            bounds = _bounds((*field.metadata, field.annotation))
            field.description = " ".join((field.description or "").split())
            if bounds:
                text, _, source = field.description.rpartition(";")
                field.description = f"{text}, {' and '.join(bounds)};{source}"


def _switches(value: object) -> bool:
    """Whether a value is, or a list holds, true or false."""
    if isinstance(value, list | tuple):
        return any(_switches(one) for one in value)
    return isinstance(value, bool)


def _bounds(found: Iterable[object]) -> list[str]:
    """What annotations demand of a number, in words, inner ones included."""
    words: list[str] = []
    for item in found:
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            if getattr(item, name, None) is not None:
                words.append(f"{sign} {_plain(getattr(item, name))}")
        inner = getattr(item, "metadata", None) or getattr(item, "__metadata__", ())
        words += _bounds((*inner, *get_args(item)))

    return list(dict.fromkeys(words))


def _plain(bound: int | float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


HARD = {"missing": 0.25, "isointense": 0.25}
"""Fields of `PhantomConfig` that start from other values in the second edition."""


class PhantomConfig(Frozen):
    """The generated cohort used when no manifest is given."""

    edition: Literal[1, 2] = 1
    """1: one pose for all modalities, short reports that tell everything; 2: a pose and field of
    view per modality, long reports with errors, findings that no report tells. 2 also changes
    the starting values of the fields that `rfpmss.config.second_edition` names. [choice; ours]"""
    train: Count = 512
    """Patients in the training split. [patients; ours]"""
    test: Count = 128
    """Held-out patients. [patients; ours]"""
    seed: int = Field(default=0, ge=0, le=SEED)
    """Seed of the cohort; patient i depends on (seed, i) only. [number; ours]"""
    mri_shape: tuple[Width, Width, Width] = (96, 96, 32)
    """MRI volume, voxels. [voxels; ours]"""
    ct_shape: tuple[Width, Width, Width] = (128, 128, 24)
    """CT volume: columns, rows, slices. [voxels; ours]"""
    slide_size: Width = 1024
    """Side of the pathology slide at full resolution, pixels. [pixels; ours]"""
    views: Depth = 1
    """Slices or tiles prepared for each imaging modality. [images; ours]"""
    missing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability that an imaging modality of a patient is absent (never all of them).
    [probability; ours]"""
    hospital: Literal["home", "other", "held-out"] = "home"
    """Scanners and stain: those of one hospital, of another one, or of the other one for the
    held-out patients only. [choice; ours]"""
    isointense: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that a tumour is no brighter or darker than the brain around it and shows by
    its texture and by what it pushes aside. [probability; ours]"""
    label_noise: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability that a finding in the column labels is another one than the true.
    [probability; ours]"""
    duplicate_reports: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability that a patient has the findings of an earlier one and, word for word, the
    same report. [probability; ours]"""
    language: Literal["english", "chinese", "mixed"] = "english"
    """Of the reports; mixed: either, with equal probability. [choice; ours]"""
    level: Literal["lobe", "off"] = "lobe"
    """Height of the mass: that of its lobe, within 20 mm of the middle of the head; off: masses of
    14 to 26 mm, 36 mm above (frontal, parietal) or below it. [choice; ours]"""
    depth: int = Field(default=0, ge=0, le=1_024)
    """Slices of boxes about the head, in which CT and MRI are prepared; 0: slices of their own.
    [slices; ours]"""
    side: Side = 54
    """Rows and columns of the boxes. [voxels; ours]"""
    spacing: tuple[Positive, Positive, Positive] = (3.0, 3.0, 3.0)
    """Of the voxels of the boxes along x, y, z. [mm; ours]"""
    masks: Literal["choose", "boxes", "hidden"] = "choose"
    """What tumour masks are for: they choose the slices and give the boxes; the slices are spread
    over the head and masks give boxes alone; or there are none. [choice; ours]"""

    @model_validator(mode="before")
    @classmethod
    def _second_is_hard(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("edition") == 2:
            return HARD | values
        return values


class DataConfig(Frozen):
    """How studies become tensors (paper: Parameter settings)."""

    resize: Side = 256
    """Side to which an image is resized before cropping, pixels. [pixels; paper]"""
    size: Side = 224
    """Side of the crop that enters the model, pixels. [pixels; paper]"""
    slices: Depth = 1
    """Images (slices or tiles) that stand for one series of a view. [images; ours]"""
    order: Literal["best", "levels"] = "best"
    """Slices of CT and MRI: the best first; or from the neck upwards, each of its own share of the
    head and with a learned height, from a cohort prepared with --order levels. levels also changes
    the starting values of the fields that `rfpmss.config.levels` names. [choice; ours]"""
    depth: int = Field(default=0, ge=0, le=1_024)
    """Slices of CT and MRI that enter, of boxes about the head (prepare --depth), any sequences of
    MRI; data.slices then counts tiles alone. 0: slices of their own. [slices; ours]"""
    spacing: tuple[Positive, Positive, Positive] = (3.0, 3.0, 3.0)
    """Of the voxels of the boxes along x, y, z, as they were prepared. [mm; ours]"""
    drop: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability that a sequence is left out in training, never all of a study's; boxes alone.
    [probability; ours]"""
    unname: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Probability that a sequence enters without its name, as other, in training; boxes alone.
    [probability; ours]"""
    series: Depth = 1
    """Series or time points of a view that enter together (beyond the paper), the best first; a
    study with fewer repeats those it has. [series; ours]"""
    tokens: int = Field(default=100, ge=4, le=8_192)
    """Longest report, tokens, start and end included. [tokens; REFERS]"""
    vocabulary: int = Field(default=10_000, ge=32, le=10_000_000)
    """Upper bound of the tokenizer's vocabulary. [tokens; REFERS]"""
    flip: float = Field(default=0.5, ge=0.0, le=1.0)
    """Probability of a left-right flip of the whole study, text included. [probability; paper]"""
    rotation: float = Field(default=10.0, ge=0.0, le=180.0)
    """Largest rotation, degrees either way. [degrees; paper]"""
    draw: Literal["study", "view"] = "study"
    """Rotation and place of the crop: the same for all views of a study, or of its own for each,
    so that no two views share a pose that could be matched. A flip is always common. [choice;
    ours]"""
    brightness: float = Field(default=0.1, ge=0.0, le=1.0)
    """Largest change of brightness, in units of the image range. [image range; ours]"""
    contrast: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Largest relative change of contrast. [share; ours]"""

    @model_validator(mode="after")
    def _crop_fits(self) -> DataConfig:
        if self.size > self.resize:
            raise ValueError(
                f"data.size must be at most data.resize={self.resize}, got {self.size}"
            )
        if self.depth and (self.order, self.series) != ("best", 1):
            raise ValueError(
                "data.order must be best and data.series 1 with data.depth, got "
                f"{self.order} and {self.series}: a box holds all levels, and all sequences enter"
            )
        if (pixels := self.resize**2 * max(self.slices * self.series, self.depth)) > MOST_PIXELS:
            raise ValueError(
                f"data.resize^2 x data.slices x data.series must be at most {MOST_PIXELS:,} "
                f"pixels, got {pixels:,}"
            )
        return self


class ModelConfig(Frozen):
    """Sizes and readings of the network (paper: Method, Fig. 2 and 3)."""

    backbone: Literal["vit", "resnet101"] = "vit"
    """Medical Image Transformer, or a residual network (Table 5, row 1). [choice; paper]"""
    resnet_width: Width = 64
    """Channels after the stem of the residual network; its last stage has 32 times as many.
    [channels; paper]"""
    trunk: Literal["shared", "separate"] = "shared"
    """One trunk for all views, or one each. [choice; REFERS]"""
    image_weights: str | None = None
    """ViT or ResNet weights to start from: a file (safetensors, npz, pt) or a folder. [path;
    ours]"""
    slice_pooling: Literal["mean", "attention", "max"] = "mean"
    """How the slices, tiles or time points of a view become one: their mean, a learned weighted
    mean, or the largest value of each feature. [choice; ours]"""
    recompute: bool = False
    """Recompute activations in the backward pass: less memory, more time. [switch; ours]"""
    patch: Width = 16
    """Side of an image patch, pixels. [pixels; ViT-B/16]"""
    thick: Depth = 1
    """Consecutive slices of a box that are one image: a patch is so thick. [slices; ours]"""
    dim: Width = 768
    """Width of the Medical Image Transformer. [features; ViT-B/16]"""
    depth: Depth = 12
    """Self-attention blocks. [blocks; ViT-B/16]"""
    heads: Width = 12
    """Attention heads. [heads; ViT-B/16]"""
    mlp: Width = 3072
    """Width of the perceptron layer. [features; ViT-B/16]"""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout after embeddings and in the decoder. [probability; REFERS]"""
    activation: Literal["mish", "gelu"] = "mish"
    """Perceptron activation; gelu when GELU-trained weights are loaded. [choice; paper]"""
    position: Literal["concatenate", "add"] = "concatenate"
    """How learned positions join the patch vectors. [choice; paper]"""
    recurrent: Literal["concatenate", "add", "none"] = "concatenate"
    """How the aggregation embedding rejoins every patch in the last layer. [choice; paper]"""
    fusion: Literal["view", "token", "none"] = "view"
    """Softmax over views; sigmoid per token; or each view alone with the report. [choice; paper]"""
    text_dim: Width = 768
    """Width of the BERT text encoder. [features; BERT]"""
    text_depth: Depth = 12
    """BERT layers. [layers; BERT]"""
    text_heads: Width = 12
    """BERT attention heads. [heads; BERT]"""
    text_mlp: Width = 3072
    """BERT intermediate width. [features; BERT]"""
    text_pooling: Literal["pooler", "cls", "mean"] = "pooler"
    """Which BERT output becomes the report vector. [choice; ours]"""
    text_weights: str | None = None
    """BERT weights to start from: a file, a folder or the name of a model in the local cache.
    [path; ours]"""
    text: str | None = None
    """Folder of a BERT (config.json, model.safetensors, tokenizer.json or vocab.txt) to be the text
    encoder: its sizes stand for text_dim, text_depth, text_heads and text_mlp, its words for those
    of the reports, its weights are started from. [path; ours]"""
    text_frozen: int = Field(default=0, ge=0, le=1_024)
    """BERT layers, embeddings included, that are not trained. [layers; ours]"""
    decoder_dim: Width = 1024
    """Width of the report decoder. [features; REFERS]"""
    decoder_depth: Depth = 1
    """Decoder layers. [layers; REFERS]"""
    decoder_heads: Width = 16
    """Decoder attention heads. [heads; REFERS]"""
    decoder_mlp: Width = 4096
    """Decoder feed-forward width. [features; REFERS]"""
    decoder_prenorm: bool = False
    """Normalise before attention instead of after it. [switch; REFERS]"""
    token_dim: Width = 4096
    """Width of the token projection (common label space) and of the joint transformer block.
    [features; paper]"""
    joint_heads: Width = 64
    """Heads of the joint transformer block. [heads; paper]"""
    joint_mlp: Width = 4096
    """MLP width of the joint transformer block. [features; paper]"""
    joint_dim: Width = 6144
    """Width of the joint embedding space. [features; paper]"""
    standardise: bool = False
    """Centre and scale study, report and joint-space vectors over the batch before cosines; in
    evaluation by running figures. Without it all vectors of a kind point one way for hundreds of
    steps. [switch; ours]"""
    study_words: bool = False
    """The study vector, through a linear map, is added to every word of the decoder, as Eq. 4
    decodes from v. [switch; ours]"""
    token_types: bool = True
    """BERT's token types learn; otherwise they stay as they are, zero without text_weights: one
    vector for all tokens of all reports. [switch; BERT]"""
    anchors: Width = 64
    """Anchors K per modality and space. [anchors; paper]"""
    rebuild: bool = False
    """Heads that rebuild input from joint features, for loss.structure=reconstruction. [switch;
    paper, Table 4a]"""

    @model_validator(mode="before")
    @classmethod
    def _loaded_weights_are_gelu(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values  # refused by who is asked next
        if values.get("image_weights") and "activation" not in values:
            return values | {"activation": "gelu"}
        return values

    @model_validator(mode="after")
    def _one_text(self) -> ModelConfig:
        if self.text and self.text_weights:
            raise ValueError(
                f"model.text must not be given with model.text_weights, got {self.text} and "
                f"{self.text_weights}; the folder's weights are read already"
            )
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        for width, heads in (
            ("dim", "heads"),
            ("text_dim", "text_heads"),
            ("decoder_dim", "decoder_heads"),
            ("token_dim", "joint_heads"),
        ):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(
                    f"model.{width} must be a multiple of model.{heads}={getattr(self, heads)}, "
                    f"got {getattr(self, width)}"
                )
        return self


def check_fit(model: ModelConfig, data: DataConfig) -> None:
    """Refuse images that the network cannot cut into patches.

    Raises:
        ValueError: names both fields.
    """
    if data.size % model.patch:
        raise ValueError(
            f"data.size must be a multiple of model.patch={model.patch}, got {data.size}"
        )
    if data.depth % model.thick or (model.thick > 1 and not data.depth):
        raise ValueError(
            f"model.thick must divide data.depth={data.depth}, and be 1 without it, got "
            f"{model.thick}"
        )
    if data.depth and model.backbone != "vit":
        raise ValueError(f"data.depth needs model.backbone=vit, got {model.backbone}")
    if (patches := (data.size // model.patch) ** 2) > MOST_PATCHES:
        raise ValueError(
            f"(data.size / model.patch)^2 must be at most {MOST_PATCHES:,} patches, got {patches:,}"
        )


class AssignmentConfig(Frozen):
    """The assignment M(.) of samples to anchors (paper: Algorithm 1)."""

    k: Width = 32
    """Anchors K' per sample. [anchors; paper]"""
    eps: Positive = 0.07
    """Temperature 1/lambda. [cosine; Multi-SK]"""
    damping: float = Field(default=0.25, ge=0.0, lt=1.0)
    """Scale mu of the channels that are not selected. [factor; paper]"""
    solver: Literal["newton", "sinkhorn", "modified", "none"] = "newton"
    """Exact limit; a fixed number of sweeps; plain Sinkhorn with row sum k; no assignment.
    [choice; paper, its limit ours]"""
    steps: Count = 20
    """Sweeps of the sinkhorn and modified solvers. [sweeps; Multi-SK]"""
    order: Literal["row-column-depth", "column-depth-row"] = "row-column-depth"
    """Order of the normalisations within a sweep. [choice; paper, Multi-SK]"""
    bank: int = Field(default=5500, ge=0, le=100_000_000)
    """Past feature pairs assigned together with the batch; at most the training studies.
    [studies; paper]"""
    start: Literal["full", "rows", "wait"] = "full"
    """The bank counts once full; or row by row; or no consistency loss before it is full.
    [choice; ours, Multi-SK waits]"""
    loads: tuple[Positive, ...] | None = None
    """Relative loads of the anchors; even when not given. [ratio; ours]"""
    tail: float = Field(default=0.0, ge=0.0, le=4.0)
    """Exponent of long-tailed loads: the j-th anchor's share falls as j^-tail; 0 is even.
    [exponent; ours]"""
    slack: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share by which an anchor's load may leave its target, the scores deciding. [share; ours]"""


Term = Literal["language", "contrast", "nce", "consistency"]
TERMS: tuple[Term, ...] = get_args(Term)
"""The losses, by the names of their weights, in the order of pages and cards."""


class LossConfig(Frozen):
    """Weights and readings of the losses (Eq. 4-9)."""

    language: Factor = 1.0
    """Weight of the report-generation loss, Eq. 4. [weight; paper]"""
    contrast: Factor = 1.0
    """Weight of the study-report contrast, Eq. 7. [weight; paper]"""
    consistency: Factor = 1.0
    """Weight of the semantic-structure consistency, Eq. 6. [weight; paper]"""
    nce: Factor = 1.0
    """Weight of the contrast between modalities, Eq. 9. [weight; paper]"""
    temperature: Positive = 0.1
    """Temperature tau of Eq. 5 and Eq. 7. [cosine; paper]"""
    kappa: Positive = 0.05
    """Temperature of Eq. 8. [cosine; Multi-SK]"""
    similarity: Literal["product", "sum", "logit"] = "product"
    """sim(a, b): exp(cos/tau); exp(cos/2tau), the paper's sum of norms; or cos/tau itself, the one
    that can say that an anchor is not assigned. [choice; Multi-SK]"""
    max_logit: Positive | None = None
    """Clamp of sim(a, b) before the binary cross-entropy; none by default. [logit; ours]"""
    report_weight: Factor = 1.0
    """Weight of the Eq. 6 and Eq. 9 terms that touch the report. [weight; paper]"""
    other_weight: Factor = 0.1
    """Weight of the remaining terms. [weight; paper]"""
    pairs: Literal["paper", "all"] = "paper"
    """Modality pairs of Eq. 9: the paper's four, or all six. [choice; paper]"""
    readout: Literal["minmax", "guarded", "raw", "clamp"] = "minmax"
    """How a plan becomes a target: each row scaled to [0, 1]; scaled in the measure in which its
    entries differ, so that noise is not; as it is; or clamped. [choice; Multi-SK]"""
    symmetric: bool = False
    """Eq. 7 in both directions, 0.75 and 0.25. [switch; REFERS]"""
    structure: Literal["sspc", "no-cross-modal", "no-sspc", "reconstruction"] = "sspc"
    """Eq. 6; its m = n terms; assignments kept within a space; or reconstruction (Table 4a).
    [choice; paper]"""
    pair_weights: tuple[tuple[Factor, ...], ...] | None = None
    """Weights of Eq. 6 in full: rows joint-space modality, columns anchors' modality. [weights;
    ours]"""
    stop_gradient: bool = False
    """Input-space features enter Eq. 6 without a gradient. [switch; ours]"""


class TrainConfig(Frozen):
    """The optimisation (paper: Parameter settings)."""

    stage: Literal["joint", "backbone", "heads"] = "joint"
    """All losses at once; or language and contrast train encoders and decoder; then projections
    and anchors learn on frozen encoders (with --start). [choice; paper]"""
    parallel: Literal["replicate", "shard"] = "replicate"
    """Whether each rank holds all parameters (DDP) or its part of them (FSDP2). [choice; ours]"""
    accumulate: Width = 1
    """Parts into which a rank's batch is cut to save memory; the losses see the whole batch.
    [parts; ours]"""
    compile: bool = False
    """Compile encoders, decoder and projections; the first steps take minutes. [switch; ours]"""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Of the network; losses and assignments stay in float32, or in float64 for checks.
    [choice; ours]"""
    ema: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of the averaged weights; 0 keeps none. [factor a step; ours]"""
    batch: Count = 64
    """Studies in a batch. [studies; ours]"""
    epochs: Count = 15
    """Passes over the training split. [epochs; paper]"""
    optimiser: Literal["adam", "adamw", "lookahead", "muon"] = "adam"
    """Adam as in the paper, with decoupled weight decay, SGD of momentum 0.9 with Lookahead
    (5, 0.5) as in REFERS, or Muon for hidden matrices and AdamW for the rest. [choice; paper]"""
    lr: Positive = 5e-5
    """Learning rate. [per step; paper]"""
    text_rate: Positive = 1.0
    """Learning rate of the text encoder, relative to lr; REFERS: 0.1. [factor; ours]"""
    stem_fan_in: Count | None = None
    """Fan-in of an image stem above which its rate is lr x stem_fan_in / fan-in: a step of Adam
    moves a patch vector by about the rate times the fan-in. None: every stem at lr. [inputs;
    ours]"""
    matrix_rate: Positive = 10.0
    """Learning rate of Muon's matrices, relative to lr. [factor; ours]"""
    schedule: Literal["exponential", "onecycle"] = "exponential"
    """x decay each epoch (paper), or linear warm-up and cosine over the whole run. [choice;
    paper]"""
    warmup: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of all steps in which the rate of onecycle rises; REFERS: 0.025. [share; ours]"""
    decay: float = Field(default=0.9, gt=0.0, le=1.0)
    """Factor on the learning rate after each epoch (exponential schedule). [factor an epoch;
    paper]"""
    weight_decay: Factor = 0.0
    """Weight decay. [per step; Multi-SK]"""
    clip: Factor = 0.0
    """Largest gradient norm; 0 leaves gradients alone. [norm; ours]"""
    save_every: Count = 100
    """Steps between checkpoints. [steps; ours]"""
    keep: Count = 2
    """Checkpoints kept, besides the best one. [checkpoints; ours]"""
    best: Literal["loss", Term] = "loss"
    """Which loss on the split val makes a checkpoint the best; computed at each save. [choice;
    ours]"""
    threads: Depth = 1
    """Threads of the CPU; results are bit-identical only at an equal number. [threads; ours]"""
