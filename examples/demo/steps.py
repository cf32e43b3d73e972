# SPDX-License-Identifier: Apache-2.0
"""The six steps: each acts with kubectl as a user would, and checks its promise."""

from collections.abc import Callable
from dataclasses import dataclass

from demo.world import TENANT, DemoError, World

REPLICAS = 2


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        number: Its place.
        title: What it shows.
        run: Does it; raises when it does not come out as promised.
    """

    number: int
    title: str
    run: Callable[[World], None]


def approved(world: World) -> None:
    """A fine-tune of the approved base is held, examined, and then runs."""
    if world.available("support-bot"):
        raise DemoError("the workload runs before there is a verdict")
    world.apply("1-approved.yaml")
    world.interrupt(1)
    world.wait_verdict("support-bot", "Pass", "LineageVerified")
    world.wait("the workload runs", lambda: world.available("support-bot") == REPLICAS)
    world.tell.command(f"kubectl get deployments,pods --namespace={TENANT}")
    world.tell.output(
        world.plane.kubectl("get", "deployments,pods", f"--namespace={TENANT}")
    )


def denied(world: World) -> None:
    """A derivative of the denied base is refused, and then at once."""
    world.apply("2-denied.yaml")
    world.interrupt(2)
    world.wait_verdict("cheap-bot", "Fail", "LineageDenied")
    _never_runs(world, "cheap-bot")
    world.tell.say("The same weights under another name: now the webhook knows them.")
    _wait_until_known(world, "cheap-bot")
    answer = world.refused("2-denied-again.yaml")
    if "(LineageDenied)" not in answer:
        raise DemoError("the refusal does not carry the reason LineageDenied")
    world.tell.good("rejected at admission, before anything was stored")


def contradicted(world: World) -> None:
    """A model that claims the approved base while its weights say otherwise."""
    world.apply("3-contradicted.yaml")
    world.interrupt(3)
    world.wait_verdict("honest-bot", "Fail", "ClaimContradicted")
    _never_runs(world, "honest-bot")


def unknown(world: World) -> None:
    """An unrelated model, alike in everything but its weights."""
    world.tell.say(
        "twin-bot has the same config.json, tokenizer and training text as aurora-1. "
        "It was trained apart, and its weights say so."
    )
    world.apply("4-unknown.yaml")
    world.interrupt(4)
    world.wait_verdict("twin-bot", "Unknown", "LineageUnknown")
    _never_runs(world, "twin-bot")


def corrupt(world: World) -> None:
    """A file with a corrupt header gives a clear error, and nothing is lost."""
    world.apply("5-corrupt.yaml")
    world.interrupt(5)
    world.wait_verdict("broken-bot", "Fail", "ArtifactInvalid")
    _never_runs(world, "broken-bot")
    world.wait_verdict("support-bot", "Pass", "LineageVerified")


def tightened(world: World) -> None:
    """The policy is tightened: running models are judged again, not read again."""
    before = world.examined_bytes()
    world.apply("policy-tightened.yaml")
    world.interrupt(6)
    world.wait_verdict("support-bot", "Fail", "LineageDenied")
    read = world.examined_bytes() - before
    # The counter starts anew with the process, so after a restart it may be lower.
    if read > 0:
        raise DemoError(f"{read} bytes of weights were read to judge again")
    if world.available("support-bot") != REPLICAS:
        raise DemoError("a running workload was scaled down by a verdict")
    world.tell.good(
        f"no byte of weights was read for it ({before} bytes before and after); its "
        f"{REPLICAS} Pods still run: Pedigree reports, and never scales to nothing"
    )


def _never_runs(world: World, name: str) -> None:
    if world.get("deployments.apps", name, TENANT):
        raise DemoError(f"{name} has a Deployment although its verdict does not allow")


def _wait_until_known(world: World, name: str) -> None:
    """Wait until the webhook can have seen the evidence, by its own object count."""
    webhook = world.stack.services["webhook"]

    def seen() -> bool:
        stored = len(world.get("modelevidences.pedigree.dev").get("items", []))
        return webhook.metric("pedigree_store_objects", kind="ModelEvidence") >= stored

    world.wait(f"the webhook knows the evidence of {name}", seen)


STEPS = (
    Step(1, "A fine-tune of an approved base: held, examined, admitted", approved),
    Step(2, "A derivative of a denied base: refused, then rejected at once", denied),
    Step(3, "A model that claims one base and descends from another", contradicted),
    Step(4, "An unrelated model: unknown, and treated as the policy says", unknown),
    Step(5, "A file with a corrupt header: a clear error, nothing lost", corrupt),
    Step(6, "The policy is tightened: judged again without reading weights", tightened),
)
