# SPDX-License-Identifier: Apache-2.0
"""What a signature is worth, in words.

Apart from :mod:`pedigree.cli.plain_words`, which a comparison of two models loads.
"""

from __future__ import annotations

from collections.abc import Mapping

from pedigree.signatures.verdict import SignatureReason

SIGNATURES: Mapping[SignatureReason, str] = {
    SignatureReason.VALID: "Somebody trusted signed it, and every signed file is there "
    "unchanged. Files that it leaves out are told beside it.",
    SignatureReason.MALFORMED: "The bundle, or what it signs, is not what OpenSSF "
    "Model Signing describes; nor is an empty file. Have the model signed again.",
    SignatureReason.UNSUPPORTED: "It needs what Pedigree does not have, such as "
    "another hash or kind of key.",
    SignatureReason.KEYLESS_NOT_SUPPORTED: "An identity signed it by Sigstore, and the "
    "extra is missing: pip install 'pedigree-gate[keyless]'.",
    SignatureReason.UNTRUSTED: "Nobody who is trusted made it, so what it says was not "
    "looked at. Trust its maker by name, if that is what you want.",
    SignatureReason.BAD_SIGNATURE: "It names somebody trusted, who did not sign these "
    "bytes; or more of it is wrong than who its maker is. Do not deploy.",
    SignatureReason.CERTIFICATE_EXPIRED: "A certificate of its chain is not valid now. "
    "Nobody knows when it was signed, so have the model signed again.",
    SignatureReason.SUBJECT_MISMATCH: "The digest that it gives of the model does not "
    "follow from the files that it lists. Do not deploy.",
    SignatureReason.FILES_CHANGED: "Signed files have other contents now. Do not "
    "deploy; get the files again from whoever signed them.",
    SignatureReason.FILES_MISSING: "Signed files are not there. Get the whole model.",
    SignatureReason.NOT_COMPARED: "It holds hashes that the source does not state, and "
    "reading all files again would be a download. Examine a local copy.",
}
"""What a signature is worth; the rules are in ``docs/signatures.md``."""
