# SPDX-License-Identifier: Apache-2.0
"""The eight similarity signals of the Model Provenance Kit 1.0, as context columns.

They let a reader set our verdict beside the figures that the kit would show for the
same two models.  They never decide anything: none has a null distribution, several are
near 1 for independent models, and the first needs no weights at all.  What each
measures and what it misses is said in its module, after the kit:
github.com/cisco-ai-defense/model-provenance-kit (Apache-2.0), read and run at version
1.0.0 with transformers 5.23.  Its definitions are followed, none of its code is used.

Values are equal to the kit's (rounded to four decimals, as it rounds) for models whose
files say everything that the kit asks the transformers library.  Where they do not,
the signal has a reason instead of a value.
"""
