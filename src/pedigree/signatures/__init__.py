# SPDX-License-Identifier: Apache-2.0
"""Signatures of models: OpenSSF Model Signing v1.0, verified without a network.

``bundle`` reads the envelope, ``trusted`` knows the kinds of signers and ``trust`` the
set that a cluster believes, ``chain`` judges certificates, ``keyless`` has Sigstore's
library verify identities, ``statement`` reads what was signed, ``verification`` puts
them together and compares the signed files with those of the model.  Nothing of a
statement is looked at before its signature is known to be that of somebody trusted.
"""
