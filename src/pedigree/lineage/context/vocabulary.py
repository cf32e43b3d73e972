# SPDX-License-Identifier: Apache-2.0
"""A tokenizer as its files state it: tokens, merges, special tokens.

Reads ``tokenizer.json`` (with the vocabulary of any of its four models: BPE,
WordPiece, WordLevel, Unigram), ``tokenizer_config.json`` and
``special_tokens_map.json``.  Runs no tokenizer and no code of the model's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.lineage.context.documents import read_document
from pedigree.lineage.context.model import Absent, NotShown
from pedigree.ranges import ModelSource

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIALS = "special_tokens_map.json"
MODEL_CONFIG = "config.json"

UNSTATED = -1
"""Id of a special token that the files leave to the tokenizer's class."""
GENERIC = "TokenizersBackend"
"""The class that adds nothing of its own to what the files say."""
_GENERIC_NAMES = ("TokenizersBackend", "PreTrainedTokenizerFast", "PreTrainedTokenizer")
_OVERRULED = {
    "qwen2": "Qwen2Tokenizer",
    "qwen3_5": "Qwen3_5Tokenizer",
    "qwen3_5_moe": "Qwen3_5Tokenizer",
    "qwen3_5_moe_text": "Qwen3_5Tokenizer",
    "siglip2": "Siglip2Tokenizer",
}
"""Model types whose published files state a wrong class, which transformers 5.23
overrules.  Source: its ``tokenization_auto``."""
_SPECIAL_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""In the order in which the library appends those that the vocabulary lacks."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the files of a tokenizer say.

    Attributes:
        kind: Class that ``tokenizer_config.json`` states, without ``Fast``, or that
            the library puts in its place; empty if it states none.
        ids: Id of each token, added tokens included.
        merges: Rules of a BPE in order, as ``left right``.
        specials: Id of ``bos``, ``eos``, ``pad``, ``unk`` and ``mask``; None where the
            tokenizer has none, :data:`UNSTATED` where only its class would know.
        added: Id of each token that is found before any text is split.
        document: ``tokenizer.json``.
    """

    kind: str
    ids: Mapping[str, int]
    merges: tuple[str, ...]
    specials: Mapping[str, int | None]
    added: Mapping[str, int]
    document: Mapping[str, Any]

    def digest(self) -> str:
        """SHA-256 of ``tokenizer.json`` without its spaces.

        Equal to the kit's ``tokenizer_hash`` where the class is :data:`GENERIC` and
        the file was written by a current version of the library.
        """
        text = json.dumps(self.document, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_vocabulary(source: ModelSource) -> Vocabulary | Absent:
    """Read a model's tokenizer.

    Args:
        source: The model.

    Raises:
        ArtifactError: A file is refused, or is no tokenizer (``MalformedTokenizer``).
        SourceError: The bytes could not be had.
    """
    document = read_document(source, TOKENIZER)
    if document is None:
        return Absent(NotShown.NO_TOKENIZER, f"the model has no {TOKENIZER}")
    config = read_document(source, CONFIG) or {}
    named = {**(read_document(source, SPECIALS) or {}), **config}
    added = dict(_added(document, config))
    ids = {**_pieces(document), **added}
    kind = _kind(config.get("tokenizer_class"), read_document(source, MODEL_CONFIG))
    specials = _specials(named, ids, kind)
    merges = tuple(_merges(_model(document).get("merges")))
    return Vocabulary(kind, ids, merges, specials, added, document)


def _kind(stated: object, config: Mapping[str, Any] | None) -> str:
    if not isinstance(stated, str):
        return ""
    model_type = str((config or {}).get("model_type"))
    if model_type in _OVERRULED:
        return _OVERRULED[model_type]
    return GENERIC if stated in _GENERIC_NAMES else stated.removesuffix("Fast")


def _model(document: Mapping[str, Any]) -> Mapping[str, Any]:
    model = document.get("model")
    if not isinstance(model, dict):
        _refuse("model", model, "a map")
    return model


def _pieces(document: Mapping[str, Any]) -> dict[str, int]:
    vocab = _model(document).get("vocab")
    if isinstance(vocab, list):  # Unigram: pieces with their scores, in order of id
        pieces = [item[0] if isinstance(item, list) and item else 0 for item in vocab]
        if not all(isinstance(piece, str) for piece in pieces):
            _refuse("model.vocab", vocab, "pieces with their scores")
        vocab = {piece: token_id for token_id, piece in enumerate(pieces)}
    if not isinstance(vocab, dict) or not all(
        isinstance(token_id, int) for token_id in vocab.values()
    ):
        _refuse("model.vocab", vocab, "tokens with integer ids, or with scores")
    return vocab


def _added(
    document: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[tuple[str, int]]:
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        for number, item in decoder.items():
            if isinstance(item, dict) and number.isdecimal() and len(number) < 10:
                yield _text(item), int(number)
    listed = document.get("added_tokens") or []
    if not isinstance(listed, list):
        _refuse("added_tokens", listed, "a list")
    for item in listed:
        if not isinstance(item, dict) or not isinstance(item.get("id"), int):
            _refuse("added_tokens", item, "maps with id and content")
        yield _text(item), item["id"]


def _text(item: Mapping[str, Any]) -> str:
    content = item.get("content")
    if not isinstance(content, str):
        _refuse("content", content, "text")
    return content


def _merges(merges: object) -> Iterator[str]:
    for item in merges if isinstance(merges, list) else ():
        if isinstance(item, str):
            yield item
        elif isinstance(item, list) and all(isinstance(part, str) for part in item):
            yield " ".join(item)
        else:
            _refuse("model.merges", item, "pairs of tokens")


def _specials(
    named: Mapping[str, Any], ids: dict[str, int], kind: str
) -> dict[str, int | None]:
    """Ids of special tokens; those that the vocabulary lacks are appended to it."""
    found: dict[str, int | None] = {}
    for name in _SPECIAL_NAMES:
        key = f"{name}_token"
        token = named.get(key)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            found[name] = ids.setdefault(token, max(ids.values(), default=-1) + 1)
        elif key in named or kind == GENERIC:
            found[name] = None
        else:
            found[name] = UNSTATED
    return found


def _refuse(what: str, got: object, wanted: str) -> NoReturn:
    raise ArtifactError(
        f"{what} of {TOKENIZER!r} is {quote(got, 64)}, wanted {wanted}",
        reason="MalformedTokenizer",
        path=TOKENIZER,
    )
