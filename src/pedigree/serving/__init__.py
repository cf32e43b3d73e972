# SPDX-License-Identifier: Apache-2.0
"""What every service does the same way: settings, logs, sockets, certificates.

It knows no framework: which server answers on a socket, and what it answers, is the
business of each service.
"""
