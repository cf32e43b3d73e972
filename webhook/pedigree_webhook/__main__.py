# SPDX-License-Identifier: Apache-2.0
"""``python -m pedigree_webhook``: serve until told to end.

Exit codes: 0 after SIGTERM, 2 when started wrongly, 70 for a bug.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from pedigree.errors import ConfigError, LedgerError
from pedigree.serving.logs import start_logs
from pedigree_webhook.config import Config
from pedigree_webhook.service import Service

EXIT_CONFIG = 2
EXIT_BUG = 70

log = logging.getLogger(__name__)


def main(env: Mapping[str, str]) -> int:
    """Run the webhook and return its exit code."""
    start_logs("webhook", "info")
    try:
        config = Config.from_env(env)
        start_logs("webhook", config.log_level)
        Service(config).run()
    except (ConfigError, LedgerError) as error:
        log.error("the webhook cannot start: %s", error)
        return EXIT_CONFIG
    except Exception:
        log.exception("the webhook ended because of a bug")
        return EXIT_BUG
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
