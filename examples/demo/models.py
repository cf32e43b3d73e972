# SPDX-License-Identifier: Apache-2.0
"""The models of the demonstration, made from the small trained ones that ship."""

import shutil
from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[1] / "models"
# What the shipped models are called here. Their zoo.json, which tells their true
# parents, stays behind: nothing but the weights may give them away.
COPIES = {
    "aurora-1": "llama-a",
    "nightshade-1": "gpt2-a",
    "support-bot": "llama-a.sft",
    "cheap-bot": "gpt2-a.sft",
    "honest-bot": "gpt2-a.sft",
    "twin-bot": "llama-b",
    "broken-bot": "llama-a.sft",
}
HEADER_LENGTH_BYTES = 8
CLAIM = """---
base_model: aurora-labs/aurora-1
base_model_relation: finetune
license: apache-2.0
---
Fine-tuned from aurora-1. Honestly.
"""


def lay_out(folder: Path) -> None:
    """Write all models of the demonstration into a folder."""
    for name, shipped in COPIES.items():
        shutil.copytree(
            SHIPPED / shipped, folder / name, ignore=shutil.ignore_patterns("zoo.json")
        )
    (folder / "honest-bot" / "README.md").write_text(CLAIM)
    corrupt_header(folder / "broken-bot" / "model.safetensors")


def corrupt_header(weights: Path) -> None:
    """Make the header promise more bytes than the file holds."""
    with weights.open("r+b") as file:
        file.write((2**40).to_bytes(HEADER_LENGTH_BYTES, "little"))
