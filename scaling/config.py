"""The typed, strict configuration of one run: what it is (its identity) and how it is executed.

A configuration file is YAML with the sections below; unknown fields are refused. `identity` is what the run id is made from.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, Tag, ValidationError, model_validator

from scaling.data.configuration import DataConfig
from scaling.errors import ScalingError
from scaling.models.parametrization import Parametrization, Rules, Standard
from scaling.models.shapes import expand_model
from scaling.optimization import OptimizerConfig, ScheduleConfig, TrainingConfig
from scaling.quantities import Amount, Count
from scaling.section import Section

if TYPE_CHECKING:
    from scaling.families import AnyRun

RECIPE = 1
"""Version of the training code's mathematics: raised by any change that alters the losses of an unchanged configuration."""


class ModelConfig(Section):
    """What the decoder-only transformer is. `family` or `preset` in a file stand for several of these fields at once."""

    width: Count
    layers: Count
    heads: Count
    kv_heads: Count
    head_width: Count
    mlp_width: Count
    """Of one expert, where there are several."""
    positions: Literal["rotary", "learned", "none"]
    rotary_base: float = Field(10_000.0, gt=1)
    rotary_fraction: float = Field(1.0, gt=0, le=1)
    """The part of a head that is turned (Black et al. 2022, arXiv 2204.06745, section 2.1.1)."""
    norm: Literal["rmsnorm", "layernorm"]
    norm_placement: Literal["before", "after", "both"] = "before"
    """Of what a block adds: its input is normalised, the sum (as in GPT-1), or its input and its output (as in Gemma 2)."""
    norm_epsilon: float = Field(1e-5, gt=0)
    qk_norm: bool = False
    """Queries and keys are normalised, each head by itself (Henry et al. 2020, arXiv 2010.04245)."""
    mlp: Literal["swiglu", "geglu", "gelu", "squared_relu"]
    biases: bool
    parallel_blocks: bool = False
    """Attention and MLP read the same input (Wang & Komatsuzaki 2021, GPT-J)."""
    tied_head: bool
    embedding_scale: bool = False
    """Embeddings are multiplied by the square root of the width (Vaswani et al. 2017, section 3.4)."""
    attention_scale: float | None = Field(None, gt=0)
    """What query-key products are multiplied by; null for the parametrization's rule, 1 / sqrt(head_width) in the standard."""
    attention_cap: float | None = Field(None, gt=0)
    logit_cap: float | None = Field(None, gt=0)
    """Scores and logits x become cap tanh(x / cap) (Gemma 2, arXiv 2408.00118, section 2)."""
    z_loss: Amount = 0.0
    """Weight of the mean of log(Z)^2 in what is minimised, not in the recorded loss (Chowdhery et al. 2022, section 5)."""
    experts: Count = 1
    experts_per_token: Count = 1
    balance_loss: Amount = 0.0
    """Weight of the load-balancing term in what is minimised (Fedus et al. 2022, arXiv 2101.03961, equation 4)."""
    parametrization: Parametrization = Standard()
    """How initial scales, multipliers and learning rates go with the size."""
    dtype: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, fields: Any) -> Any:
        return expand_model(fields) if isinstance(fields, Mapping) else fields

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}")
        if self.positions == "rotary" and (self.rotary_width % 2 or not self.rotary_width):
            raise ValueError(
                "rotary positions need an even head width; "
                f"head_width {self.head_width} x rotary_fraction {self.rotary_fraction:g} is {self.rotary_width}"
            )
        if self.parallel_blocks and self.norm_placement == "after":
            raise ValueError("parallel_blocks need norm_placement before or both, not after")
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token {self.experts_per_token} is more than experts {self.experts}")
        if self.experts > 1 and self.biases:
            raise ValueError(f"experts {self.experts} have no biases; set biases to false")
        if self.experts == 1 and self.balance_loss:
            raise ValueError(f"balance_loss {self.balance_loss:g} needs more than one expert")
        if self.parametrization.name == "completep" and self.norm_placement == "after":
            raise ValueError("parametrization completep needs norm_placement before or both, not after")
        return self

    @property
    def compiled(self) -> "ModelConfig":
        """What of it a program is compiled for: the weights of losses are traced, and 0 here."""
        return self.model_copy(update={"z_loss": 0.0, "balance_loss": 0.0})

    @property
    def rules(self) -> Rules:
        """The parametrization's table for a model of this size."""
        return self.parametrization.rules(self.width, self.layers, self.head_width)

    @property
    def rotary_width(self) -> int:
        """How many dimensions of a head are turned."""
        return int(self.head_width * self.rotary_fraction)


class MeshConfig(Section):
    """Devices along each axis; the batch is split over every axis but `tensor`.

    `replica`: copies on slices or hosts that a slower network joins. `data`: copies within one. `fsdp`: splits the parameters
    by width. `expert`: splits a mixture by experts. `tensor`: splits heads, MLP and vocabulary.
    """

    replica: Count = 1
    data: Count = 1
    fsdp: Count = 1
    expert: Count = 1
    tensor: Count = 1

    @property
    def devices(self) -> int:
        """How many devices the mesh takes."""
        return self.batch_shards * self.tensor

    @property
    def batch_shards(self) -> int:
        """Over how many devices the sequences of a batch are spread."""
        return self.replica * self.data * self.fsdp * self.expert

    def __str__(self) -> str:
        """The axes that are split, for messages: `data 2 x fsdp 4`."""
        return " x ".join(f"{axis} {size}" for axis, size in self.model_dump().items() if size > 1) or "data 1"


class ProgramConfig(Section):
    """How the compiled functions are made: runs of one shape that agree in these share them."""

    mesh: MeshConfig = MeshConfig()
    micro_batch: Count | None = None
    """Sequences whose gradient is computed at once, over all devices; null for a whole batch, or half of it on one CPU."""
    remat: Literal["none", "dots", "dots_without_batch", "full"] = "none"
    """What of a block's forward pass is kept for its backward pass: all, products of matrices, of weights alone, its input."""
    scan_layers: bool = False
    """Loop over one block's program instead of writing out every layer's; parameters are stacked, a copy, inside each step."""
    loss_chunk: Count | None = None
    """Positions of each sequence whose logits are in memory at once; null for as many as fit into 256 MiB of a device."""
    attention: Literal["auto", "xla", "cudnn", "splash"] = "auto"
    """`auto` is splash on TPU and cuDNN on GPU, where they can compute this model, and XLA elsewhere."""


class ExecutionConfig(ProgramConfig):
    """How a run is executed: none of it changes the losses in exact arithmetic, none of it is in the run id."""

    log_every: Count = 10
    evaluations: Count = 5
    checkpoint_every_seconds: float = Field(60.0, ge=0)
    cohort: Count = 1
    """At most so many runs that share a program and their number of steps (seeds, learning rates, weight decays) are trained
    together by a worker of a sweep, spread over all its devices: for models too small to fill one."""
    cache_directory: str = ".cache"
    """Prepared corpora and token stores (`data/`) and compiled programs (`jax/`): all of it can be made again."""

    @property
    def program(self) -> ProgramConfig:
        """The part that the compiled functions depend on."""
        return ProgramConfig(**{name: getattr(self, name) for name in ProgramConfig.model_fields})

    @property
    def data_directory(self) -> Path:
        """Where corpora and token stores are kept."""
        return Path(self.cache_directory) / "data"


class RunConfig(Section):
    """One run: everything in a configuration file."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    training: TrainingConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    seed: int = 0
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        length, batch, tokens = self.data.sequence_length, self.training.batch_tokens, self.training.tokens
        if batch % length:
            raise ValueError(f"training.batch_tokens {batch} is not a multiple of data.sequence_length {length}")
        if self.training.unique_tokens is not None and self.training.unique_tokens < length:
            raise ValueError(f"training.unique_tokens {self.training.unique_tokens} is less than data.sequence_length {length}")
        if self.training.unique_tokens is not None and self.data.streaming:
            raise ValueError("training.unique_tokens needs a corpus that is tokenised first; leave data.streaming out")
        if tokens < batch:
            raise ValueError(f"training.tokens {tokens} is less than one batch of {batch} tokens")
        if self.data.documents == "pairs" and self.training.objective != "masked":
            raise ValueError(f"data.documents pairs needs training.objective masked, not {self.training.objective}")
        if self.data.documents == "pairs" and self.model.parametrization.name != "standard":
            raise ValueError(f"data.documents pairs has no rules in parametrization {self.model.parametrization.name}")
        if self.schedule.warmup_tokens > tokens:
            raise ValueError(f"schedule.warmup_tokens {self.schedule.warmup_tokens:g} exceed training.tokens {tokens}")
        shards, rows = self.execution.mesh.batch_shards, self.micro_batch
        if self.batch_size % rows:
            raise ValueError(f"a batch of {self.batch_size} sequences is not divisible by execution.micro_batch {rows}")
        if rows % shards:
            what = "a batch" if rows == self.batch_size else "execution.micro_batch: one"
            raise ValueError(
                f"{what} of {rows} sequences does not divide over the {shards} devices of execution.mesh "
                f"{self.execution.mesh} that share a batch"
            )
        if self.execution.loss_chunk is not None and length % self.execution.loss_chunk:
            raise ValueError(
                f"data.sequence_length {length} is not divisible by execution.loss_chunk {self.execution.loss_chunk}"
            )
        return self

    @property
    def batch_size(self) -> int:
        """Sequences in a global batch."""
        return self.training.batch_tokens // self.data.sequence_length

    @property
    def objective(self) -> str:
        """What a program is compiled for: `causal`, `masked`, or `next_sentence`, which is masked with pairs of stretches."""
        return "next_sentence" if self.data.documents == "pairs" else self.training.objective

    @property
    def extra_tokens(self) -> int:
        """What the objective adds to the tokenizer's vocabulary: the mask, and before it what marks the parts of a pair."""
        return {"causal": 0, "masked": 1, "next_sentence": 3}[self.objective]

    @property
    def micro_batch(self) -> int:
        """Sequences in memory at once, over all devices."""
        return min(self.execution.micro_batch or self.batch_size, self.batch_size)

    @property
    def unique_tokens(self) -> int | None:
        """The whole sequences in `training.unique_tokens`, where those are fewer than the run's tokens."""
        return unique_tokens(self.training.unique_tokens, self.tokens, self.data.sequence_length)

    @property
    def steps(self) -> int:
        """Optimizer steps: the whole batches in the token budget."""
        return self.training.tokens // self.training.batch_tokens

    @property
    def tokens(self) -> int:
        """Training tokens, in whole batches."""
        return self.steps * self.training.batch_tokens


def unique_tokens(limit: int | None, tokens: int, sequence_length: int) -> int | None:
    """The whole sequences within a limit, in tokens, where those are fewer than `tokens`."""
    if limit is None:
        return None
    unique = limit // sequence_length * sequence_length
    return unique if unique < tokens else None


def identity(config: "AnyRun", corpus: str, tokenizer: str) -> dict[str, Any]:
    """All of a run that can change its losses, with the corpus and the tokenizer named by the hashes of their content."""
    fields = config.model_dump(mode="json", exclude={"execution", "data"})
    fields["training"]["tokens"] = config.tokens
    if config.unique_tokens is None:  # a field that came later: without it, the ids of before
        del fields["training"]["unique_tokens"]
    else:
        fields["training"]["unique_tokens"] = config.unique_tokens
    if fields["training"].get("objective") == "causal":  # so did this one
        del fields["training"]["objective"]
    fields["data"] = {
        "corpus": corpus,
        "tokenizer": tokenizer,
        "sequence_length": config.data.sequence_length,
        "validation_tokens": config.data.validation_tokens,
        **({} if config.data.documents == "joined" else {"documents": config.data.documents}),
        **({"streaming": True} if config.data.streaming else {}),
    }
    return {**fields, "recipe": RECIPE}


def run_id(identity_fields: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of the SHA-256 of the identity's canonical JSON."""
    canonical = json.dumps(identity_fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


Config = TypeVar("Config", bound=BaseModel)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; errors name the file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScalingError(f"no such file: {path} (`scaling init FILE` writes a sweep file)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScalingError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise ScalingError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ScalingError(f"{path} must hold a mapping of sections, not {type(content).__name__}")
    return content


def override(fields: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of `fields` with each `section.field=value` set; values are read as YAML."""
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            raise ScalingError(f"cannot read the override {assignment!r}: write section.field=value")
        fields = set_path(fields, path, yaml.safe_load(value))
    return fields


def set_path(fields: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of nested `fields` with `value` at the dotted `path`; a mapping is merged into the one that is there."""
    head, _, rest = path.partition(".")
    inner = fields.get(head)
    if rest:
        value = set_path(inner if isinstance(inner, Mapping) else {}, rest, value)
    elif isinstance(value, Mapping) and isinstance(inner, Mapping):
        value = {**inner, **value}
    return {**fields, head: value}


def build(kind: type[Config], fields: Mapping[str, Any]) -> Config:
    """`fields` as a checked configuration; a `ScalingError` names the path, the value and the nearest known field."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise ScalingError("; ".join(_explain(kind, each) for each in error.errors())) from None


def _explain(kind: type[BaseModel], error: Any) -> str:
    path, known = _walk(kind, error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {'.'.join([*path[:-1], near[0]])}?" if near else f"known: {', '.join(known)}"
        return f"{name}: unknown field (value {error['input']!r}); {hint}"
    if error["type"] == "union_tag_invalid":
        return f"{name}.name: unknown {error['ctx']['tag']!r}; known: {error['ctx']['expected_tags']}"
    if error["type"] == "missing":
        return f"{name}: this field is required"
    if error["type"] == "value_error" and not isinstance(error["input"], (str, int, float)):
        return f"{name}: {message}" if name else message
    return f"{name}: {message[0].lower()}{message[1:]}, got {error['input']!r}"


def _walk(kind: type[BaseModel], location: Iterable[Any]) -> tuple[list[str], list[str]]:
    """The path of a field as a file writes it, and the known fields of the section that it is in."""
    path: list[str] = []
    section: Any = kind
    known: list[str] = []
    for part in location:
        if isinstance(section, dict):  # a choice of sections: this part is a name, and none of a field
            section = section.get(part)
            continue
        path.append(str(part))
        known = _known_fields(section)
        field = section.model_fields.get(part) if section else None
        section = field and _section(field.annotation)
    return path, known


def _section(annotation: Any) -> Any:
    """The section of a field, which may be null too, or the choice of them by name, or None."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return dict(_choices(annotation)) or None


def _choices(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    arguments = get_args(annotation)
    if len(arguments) == 2 and isinstance(arguments[1], Tag):
        yield arguments[1].tag, arguments[0]
    else:
        for each in arguments:
            yield from _choices(each)


def _known_fields(section: type[BaseModel] | None) -> list[str]:
    extra = ["family", "preset"] if section is ModelConfig else []
    return [*section.model_fields, *extra] if section else []
