# SPDX-License-Identifier: Apache-2.0
"""A trainer of tiny language models in numpy, so that a genealogy can be made anywhere.

``backward`` differentiates the blocks by hand, ``optimise`` is AdamW, ``corpus`` the
text and the tokenizer, ``recipes`` the models.
"""
