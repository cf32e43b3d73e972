# SPDX-License-Identifier: Apache-2.0
"""What a component says on its plain port: probes and metrics."""

import http.client

ANSWER_TIMEOUT_S = 5.0


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET on 127.0.0.1; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def sum_of(exposition: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples whose labels agree; 0 if there are none."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    total = 0.0
    for line in exposition.splitlines():
        sample, _, value = line.rpartition(" ")
        metric, _, inside = sample.partition("{")
        if metric == name and wanted <= set(inside.rstrip("}").split(",")):
            total += float(value)
    return total
