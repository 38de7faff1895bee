"""The data section of a run's configuration: what is read, how it is cut into tokens and into sequences."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from scaling.data.worlds import named_world
from scaling.quantities import Amount, Count
from scaling.section import Section

GPT2_VOCABULARY = 50_257
SHORTEST_PAIR = 5
"""Tokens of a pair of stretches of one token each, and the three special ones."""


class TokenizerConfig(Section):
    """How text becomes tokens.

    `bytes`: 256 tokens; the byte 255, which UTF-8 never uses, ends a document. `bpe`: trained on the training split. `gpt2`:
    the 50,257 tokens of GPT-2, without network. `file`: the `tokenizer.json`, SentencePiece model or tiktoken ranks at `path`.
    `symbols`: what every synthetic world brings with it.
    """

    kind: Literal["bytes", "bpe", "gpt2", "file", "symbols"] = "bytes"
    path: str | None = None
    vocabulary: Count = 256
    """Of `bpe`, to be chosen; of the others it is known."""

    @model_validator(mode="before")
    @classmethod
    def _known_vocabulary(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping) or fields.get("kind") not in ("gpt2", "file"):
            return fields
        if fields["kind"] == "gpt2":
            known = GPT2_VOCABULARY
        elif not fields.get("path"):
            raise ValueError(
                "the tokenizer of kind file needs a path: a tokenizer.json, a SentencePiece model, a .tiktoken file"
            )
        else:
            from scaling.data.tokenizer_files import vocabulary_of

            known = vocabulary_of(fields["path"])
        if fields.get("vocabulary", known) != known:
            raise ValueError(f"this tokenizer has a vocabulary of {known}, not {fields['vocabulary']}; leave it out")
        return {**fields, "vocabulary": known}

    @model_validator(mode="after")
    def _check(self) -> "TokenizerConfig":
        if self.kind == "bytes" and self.vocabulary != 256:
            raise ValueError(f"the bytes tokenizer has a vocabulary of 256, not {self.vocabulary}")
        if self.kind == "bpe" and self.vocabulary < 258:
            raise ValueError(f"a byte-level bpe vocabulary needs at least 258 tokens, got {self.vocabulary}")
        if self.path is not None and self.kind != "file":
            raise ValueError(f"path is for the tokenizer of kind file, not {self.kind}")
        return self


class CorpusConfig(Section):
    """Which documents are read.

    `corpus` is `stdlib`; `files:PATTERN`, a folder or glob of text, JSONL or Parquet, plain or as .gz or .zst; `tfds:NAME`, of
    the TFDS catalogue or a prepared directory, local, gs:// or s3://; `hf:DIRECTORY`, what Hugging Face's `save_to_disk` wrote.
    """

    corpus: str = "stdlib"
    text_field: str = "text"
    train_split: str | None = None
    """Of a `tfds:` or `hf:` corpus, as TFDS spells it (`train[:10%]`); null for its `train`."""
    validation_split: str | None = None
    """null for its `validation`, else `test`; where it has none, a part of the documents is held out."""
    near_duplicates: Literal["keep", "drop"] = "keep"
    """Training documents that nearly equal another; those that nearly equal a held-out one are always dropped."""


class SourceConfig(CorpusConfig):
    """One source of a mixture."""

    weight: Amount
    """Its part of the training tokens, relative to the others'; of 0 it is only evaluated on."""


class DataConfig(CorpusConfig):
    """What is read: a corpus, a world of known entropy such as `dyck:pairs=16,kinds=2` (`scaling.data.worlds`), or a `mixture`
    of corpora by name.
    """

    mixture: dict[str, SourceConfig] | None = Field(None, min_length=2)
    tokenizer: TokenizerConfig = TokenizerConfig()
    sequence_length: Count = 256
    documents: Literal["joined", "separate", "pairs"] = "joined"
    """Whether a token sees the documents before its own in the sequence; where not (`separate`), positions begin anew with
    each. `pairs` are two stretches of text, for next-sentence prediction beside hidden tokens (`scaling/data/pairs.py`)."""
    validation_tokens: Count = 2**16
    """Of each source of a mixture."""
    max_epochs: Amount = 1.0
    world_tokens: Count = 2**24
    """How many tokens of a world are made for training."""
    streaming: bool = False
    """Training text is tokenised as it is read (`scaling/data/streaming.py`): for what is too large to be tokenised first."""

    @model_validator(mode="before")
    @classmethod
    def _symbols(cls, fields: Any) -> Any:
        """A world's tokens are its own."""
        world = named_world(fields["corpus"]) if isinstance(fields, Mapping) and "corpus" in fields else None
        if world is None:
            return fields
        if "tokenizer" in fields and TokenizerConfig.model_validate(fields["tokenizer"]).kind != "symbols":
            raise ValueError(f"the world {fields['corpus']} brings its own tokens; leave data.tokenizer out")
        if fields.get("documents", "joined") != "joined":
            raise ValueError(f"the documents of the world {fields['corpus']} are independent already; leave data.documents out")
        return {**fields, "tokenizer": {"kind": "symbols", "vocabulary": world.vocabulary}}

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if self.streaming:
            self._check_streaming()
        if self.documents == "pairs" and self.mixture is not None:
            raise ValueError("data.documents pairs are of one corpus, not of a mixture")
        if self.documents == "pairs" and self.sequence_length < SHORTEST_PAIR:
            raise ValueError(f"data.documents pairs needs a data.sequence_length of {SHORTEST_PAIR} at least")
        if self.mixture is None:
            return self
        stated = sorted(self.model_fields_set & set(CorpusConfig.model_fields) - _defaults(self))
        if stated:
            raise ValueError(f"{', '.join(stated)}: with a mixture this stands in each of its sources")
        if not any(source.weight for source in self.mixture.values()):
            raise ValueError("the weights of the mixture are all 0")
        for name, source in self.mixture.items():
            if not name.isidentifier():
                raise ValueError(f"the source {name!r} of the mixture must be named by letters, digits and _")
            if named_world(source.corpus):
                raise ValueError(f"the source {name} of the mixture is a world, which brings its own tokens")
        return self

    def _check_streaming(self) -> None:
        if self.mixture is not None:
            raise ValueError("data.streaming reads one corpus; prepare the sources of a mixture, without data.streaming")
        if self.corpus.partition(":")[0] not in ("tfds", "hf"):
            raise ValueError(f"data.streaming is for tfds: and hf:, whose documents are found by number, not for {self.corpus}")
        if self.documents == "pairs":
            raise ValueError("data.documents pairs needs a corpus that is tokenised first; leave data.streaming out")
        if self.near_duplicates == "drop":
            raise ValueError("data.streaming looks for no duplicates; leave data.near_duplicates out")
        if self.max_epochs != 1:
            raise ValueError(f"data.streaming reads each document once at most; data.max_epochs is {self.max_epochs:g}")


def _defaults(config: CorpusConfig) -> set[str]:
    """The corpus fields that say what they would say anyway, as in a recorded configuration."""
    return {name for name, field in CorpusConfig.model_fields.items() if getattr(config, name) == field.default}
