# SPDX-License-Identifier: Apache-2.0
"""Tests, verdicts and context signals in words for people who do no statistics.

The exact definitions are in the modules that compute them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pedigree.lineage.classes import LineageClass
from pedigree.lineage.findings import Relation


@dataclass(frozen=True, slots=True)
class TestWords:
    """One test of dependence.

    Attributes:
        module: Where it is defined; its docstring has the details.
        survives: What it sees through, and not; a few words for a table.
        plain: What it does.
    """

    __test__ = False  # not a test case, whatever its name says

    module: str
    survives: str
    plain: str


TESTS: Mapping[str, TestWords] = {
    "HASH": TestWords(
        "pedigree.lineage.hash_test",
        "renaming, resharding, casts; not any edit of a tensor",
        "Are there tensors whose values are equal bit by bit? File names, shards and "
        "the storage type do not matter, but one changed weight does.",
    ),
    "ALIGN-neuron": TestWords(
        "pedigree.lineage.align",
        "tuning, quantising, pruning, merging; not permuted neurons",
        "Is neuron 17 of one model like neuron 17 of the other, more than like any "
        "other neuron? Training from another start gives neurons another order, so "
        "the order is a signature of descent.",
    ),
    "ALIGN-residual": TestWords(
        "pedigree.lineage.align",
        "the same; not permuted or rotated channels",
        "The same question for the channels of the residual stream, which all layers "
        "share.",
    ),
    "GAMMA": TestWords(
        "pedigree.lineage.gamma",
        "most edits of matrices; not folded norms",
        "Do the norm layers of both models favour the same channels? Norm vectors are "
        "small and rarely changed much.",
    ),
    "EMB": TestWords(
        "pedigree.lineage.emb",
        "another tokenizer, if tokens are shared; not rotated channels",
        "Do the embeddings of tokens that both models know use the same channels? "
        "Meaning alone cannot do that: independent models put it into other channels.",
    ),
    "ROWNORM": TestWords(
        "pedigree.lineage.rownorm",
        "rotated channels, folded norms, rescaling; not permuted neurons",
        "Do neurons at the same place have the same length? No rotation of the "
        "residual stream can change it.",
    ),
    "PNI": TestWords(
        "pedigree.lineage.pni",
        "rotated channels, rescaling; not permuted neurons",
        "Do the parts of a neuron (what it reads, what it writes) stand at the same "
        "angles to each other in both models? Training puts them there, so two models "
        "that share only their random start do not agree.",
    ),
    "TSP": TestWords(
        "pedigree.lineage.tsp",
        "any change of the residual basis; not permuted neurons",
        "Does neuron 17 answer to the same tokens in both models? Each neuron is "
        "described by its answers to anchor tokens, so the inner coordinates of the "
        "models do not matter.",
    ),
    "MATCH": TestWords(
        "pedigree.lineage.match",
        "rotation and permuted neurons together; not re-drawn embeddings",
        "Neurons of both models are matched twice: by what opens them and by what "
        "they carry. In related models both matches name the same partner, in "
        "whatever order the neurons stand; in independent ones hardly ever.",
    ),
    "QF": TestWords(
        "pedigree.lineage.qf",
        "rotation, permuted neurons and re-drawn embeddings; not heavy training",
        "As MATCH, but neurons are described by how whole matrices of their own model "
        "see them, so that not even tokens are needed.",
    ),
    "ADAPT": TestWords(
        "pedigree.lineage.adapt",
        "training of base or adapter; needs an adapter and a base",
        "Does an adapter act in directions in which this base is strong? An adapter "
        "is trained on top of one base and leans on its matrices.",
    ),
}
"""Every test of the family, by name."""

FORENSICS: Mapping[str, TestWords] = {
    "SEED": TestWords(
        "pedigree.lineage.seed",
        "",
        "Related models share what training made; models that share only their random "
        "start agree in weights of the same index and in little else. This tells the "
        "two apart. It is no test of its own.",
    ),
    "FOSSIL": TestWords(
        "pedigree.lineage.fossil",
        "",
        "Rows of the embedding that training never touched shrink by weight decay and "
        "else stay as they are. The model in which they are smaller came later.",
    ),
    "DELTA": TestWords(
        "pedigree.lineage.delta",
        "",
        "What was done to the weights: how far they moved, on which lattice they lie, "
        "which became zero, whether the difference has a low rank.",
    ),
}
"""What types a relation that the tests have found; none of these decides."""

CLASSES: Mapping[LineageClass, str] = {
    LineageClass.IDENTICAL: "Both hold the same weights, whatever the files are called "
    "and however they are split. The statement says whether all bytes were compared or "
    "sampled ones.",
    LineageClass.DERIVED: "One descends from the other, or both from one ancestor that "
    "is not at hand. The relation says what was done, the direction who came first "
    "where the weights tell. Independent models come out so at most once in a million "
    "comparisons or scans.",
    LineageClass.COMMON_ANCESTOR: "Both descend from a third model, and the model "
    "asked about does not descend from the reference. It takes the third model to "
    "tell, so only a scan says it.",
    LineageClass.SHARED_INIT: "Both were trained apart from the same random start, as "
    "two runs with one seed are. Their weights are dependent, but neither was made "
    "from what the other had learnt.",
    LineageClass.NO_EVIDENCE: "No test found dependence. This is no proof that there "
    "is none: the report says how small an effect would have been seen. A model "
    "distilled from another shares no weights with it and comes out so.",
    LineageClass.INCONCLUSIVE: "The tests could not be run, and the reason says why. "
    "It counts as no answer, not as a good one.",
}

RELATIONS: Mapping[Relation, str] = {
    Relation.COPY: "The same weights in the same places.",
    Relation.ADAPTER: "One is a low-rank adapter that was trained on top of the other, "
    "or on a relative of it.",
    Relation.REARRANGED: "The same tensors, at other places in the model.",
    Relation.UPCYCLED: "Several experts of a layer were made from one feed-forward "
    "block of the other.",
    Relation.DEPTH_UPSCALED: "The layers of the other, some of them more than once.",
    Relation.LAYERS_DROPPED: "Some layers of the other are missing.",
    Relation.LAYERS_REORDERED: "The layers of the other, in another order.",
    Relation.WIDTH_PRUNED: "The feed-forward blocks have other numbers of neurons.",
    Relation.PRUNED: "Many more weights are zero than in the other.",
    Relation.VOCABULARY_CHANGED: "Another tokenizer: embedding rows were added, taken "
    "away or assigned anew.",
    Relation.QUANTISED: "Most matrices lie on a coarse lattice of a few bits, near the "
    "values of the other.",
    Relation.MERGED: "A combination of the other with further models.",
    Relation.LORA_MERGED: "The difference of the changed matrices has a low rank, as "
    "an adapter leaves that was merged into its base.",
    Relation.LAUNDERED: "Alike only in what permuting, rotating and rescaling cannot "
    "change, which is how descent would be hidden.",
    Relation.CONTINUED_PRETRAINING: "The weights of the layers moved by 40% of their "
    "size or more, as long training moves them. Where it begins is a convention.",
    Relation.FINE_TUNED: "The weights of the layers moved by less than 40% of their "
    "size, as tuning moves them. Where tuning ends is a convention.",
    Relation.PARTIAL_COPY: "Some matrices are equal value by value, the others differ.",
    Relation.DERIVED: "Related, and no more is known than that.",
}
"""Kinds of descent; which numbers tell them is in ``docs/lineage.md``."""

SIGNALS: Mapping[str, tuple[str, str]] = {
    "MFI": (
        "pedigree.lineage.context.metadata",
        "How alike the configurations are. No weight is read.",
    ),
    "TFV": (
        "pedigree.lineage.context.tokens",
        "How alike eleven features of the tokenizers are.",
    ),
    "VOA": (
        "pedigree.lineage.context.tokens",
        "Share of tokens that both vocabularies have.",
    ),
    "EAS": (
        "pedigree.lineage.context.embedding",
        "Whether 64 anchor tokens lie alike to each other in both embeddings.",
    ),
    "NLF": (
        "pedigree.lineage.context.norms",
        "Cosine of the norm vectors; near 1 for independent models too.",
    ),
    "LEP": (
        "pedigree.lineage.context.matrices",
        "Whether layers grow in size with depth alike.",
    ),
    "END": (
        "pedigree.lineage.context.embedding",
        "Whether lengths of embedding rows are distributed alike.",
    ),
    "WVC": (
        "pedigree.lineage.context.matrices",
        "Mean cosine of sampled weights at equal places.",
    ),
}
"""Module and one sentence; the signals of the Model Provenance Kit, as context."""
CONTEXT_NOTE = (
    "Context, never decides: these are the signals that the Model Provenance Kit 1.0 "
    "would show. They have no null distribution; independent models can score high and "
    "descendants low."
)


def related_to(lineage: LineageClass, name: str) -> str:
    """A verdict and the other model: ``Derived from llama-a``."""
    words = {LineageClass.IDENTICAL: "to", LineageClass.DERIVED: "from"}
    return f"{lineage} {words.get(lineage, 'with')} {name}"
