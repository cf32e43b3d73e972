# SPDX-License-Identifier: Apache-2.0
"""``pedigree gate`` on the shipped examples, and on what people get wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedigree.cli import main
from pedigree.cli.manifests import MODEL_FIELDS
from pedigree.policy.rules import Policy, load_policy

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
POLICY = EXAMPLES / "policies" / "approved-bases.yaml"
REFERENCES = EXAMPLES / "policies" / "references.yaml"
MOUNT = f"--mount=/models={EXAMPLES / 'models'}"


def gate(manifest: Path, *flags: str, references: Path | None = REFERENCES) -> int:
    known = [] if references is None else [f"--reference-models={references}"]
    return main(
        ["gate", "-f", str(manifest), f"--policy={POLICY}", MOUNT, *known, *flags]
    )


def example(name: str) -> Path:
    return EXAMPLES / "manifests" / f"{name}.yaml"


def changed(tmp_path: Path, name: str, **models: Any) -> Path:
    obj = yaml.safe_load(example(name).read_text())
    obj["spec"]["models"][0].update(models)
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(obj))
    return path


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("approved", 0, "LineageVerified"),
        ("existing-workload", 0, "LineageVerified"),
        ("denied", 1, "LineageDenied"),
        ("mislabelled", 1, "ClaimContradicted"),
        ("unknown", 1, "LineageUnknown"),
    ],
)
def test_each_example_gets_the_verdict_it_shows(
    name: str, code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(example(name), "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "pedigree.dev/gate/v1"
    assert document["allowed"] is (code == 0)
    (judged,) = document["objects"]
    assert judged["verdict"]["reason"] == reason
    assert judged["models"][0]["digest"].startswith("sha256:")


def test_people_read_a_sentence_and_a_table_of_causes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gate(example("mislabelled")) == 1
    shown = capsys.readouterr().out
    assert "Deny: team-b/summaries: ClaimContradicted" in shown
    assert "its weights say it descends from 'gpt2-a'" in shown
    assert "LineageDenied" in shown
    assert "1 object, 2 references" in shown


def test_the_policy_of_another_namespace_takes_no_part_but_that_of_its_own_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team = f"--policy={EXAMPLES / 'policies' / 'team-a.yaml'}"
    assert gate(example("approved"), team) == 0
    capsys.readouterr()
    obj = yaml.safe_load(example("approved").read_text())
    obj["metadata"]["namespace"] = "team-a"
    moved = tmp_path / "moved.yaml"
    moved.write_text(yaml.safe_dump(obj))
    assert gate(moved, team, "--json") == 1
    verdict = json.loads(capsys.readouterr().out)["objects"][0]["verdict"]
    assert verdict["reason"] == "NotPinned"
    assert verdict["causes"][0]["policy"] == "team-a/pinned-only"


def test_a_registry_serves_as_well_as_reference_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "registry"
    for name, family in (("llama-a", "llama"), ("gpt2-a", "gpt2")):
        added = main(
            [
                "registry",
                "add",
                f"--registry={registry}",
                f"--family={family}",
                name,
                str(EXAMPLES / "models" / name),
            ]
        )
        assert added == 0
    capsys.readouterr()
    flag = f"--registry={registry}"
    assert gate(example("approved"), flag, references=None) == 0
    assert gate(example("denied"), flag, references=None) == 1
    capsys.readouterr()
    # The objects say more about the same entries, and need no weights.
    nowhere = f"--mount=/models/llama-a={tmp_path / 'gone'}"
    assert gate(example("denied"), flag, nowhere, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["references"] == 2
    assert document["objects"][0]["verdict"]["reason"] == "LineageDenied"
    capsys.readouterr()
    assert gate(example("denied"), nowhere) == 3
    assert str(tmp_path / "gone") in capsys.readouterr().err


def test_a_model_that_cannot_be_read_gives_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = changed(tmp_path, "approved", source={"uri": "file:///models/gone"})
    assert gate(gone, "--json") == 3
    verdict = json.loads(capsys.readouterr().out)["objects"][0]["verdict"]
    assert (verdict["result"], verdict["action"]) == ("Error", "Deny")
    assert verdict["reason"] == "SourceRefused"


def test_a_reference_model_that_is_not_here_is_named_with_what_to_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["gate", "-f", str(example("approved")), f"--policy={POLICY}"]
    assert main([*command, f"--reference-models={REFERENCES}"]) == 3
    told = capsys.readouterr().err
    assert "reference model 'file:///models/llama-a' of " in told
    assert "references.yaml#1 cannot be read: '/models/llama-a' was not" in told
    assert "--mount /PATH=DIR" in told


def test_a_typo_in_a_deny_list_is_an_error_and_not_an_admission(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gate(example("approved"), "--json", references=None) == 3
    verdict = json.loads(capsys.readouterr().out)["objects"][0]["verdict"]
    assert verdict["reason"] == "PolicyInvalid"
    assert "which names no reference model" in verdict["message"]


def test_who_forgot_the_reference_models_is_told_of_the_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gate(example("approved"), references=None) == 3
    assert "hint: give the policies' reference models" in capsys.readouterr().out
    assert gate(example("approved")) == 0
    assert "hint" not in capsys.readouterr().out


def test_a_model_with_a_secret_is_read_with_what_whoever_asks_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = yaml.safe_load(example("approved").read_text())["spec"]["models"][0]
    private = {**source["source"], "credentialsSecret": {"name": "model-store"}}
    assert gate(changed(tmp_path, "approved", source=private)) == 0
    assert "LineageVerified" in capsys.readouterr().out


def test_the_fields_of_models_are_those_of_the_definition() -> None:
    crd = yaml.safe_load((ROOT / "crds" / "modeldeployments.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    model = spec["properties"]["models"]["items"]["properties"]
    known = {part: set(model[part[1:]]["properties"]) for part in MODEL_FIELDS if part}
    assert {"": set(model), **known} == MODEL_FIELDS


def test_another_digest_than_expected_is_a_denial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = changed(tmp_path, "approved", expectedDigest="sha256:" + "0" * 64)
    assert gate(wrong) == 1
    assert "DigestMismatch" in capsys.readouterr().out


def test_a_manifest_without_a_model_deployment_is_nothing_to_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gate(POLICY) == 4
    assert "nothing was checked" in capsys.readouterr().out


WRONG = {
    "not YAML": ("a: [", "is no YAML"),
    "a key twice": ("a: 1\na: 2\n", "the key 'a' is there twice"),
    "a list": ("- 1\n", "has [1] as object 1, wanted a map"),
    "an unknown version": (
        "apiVersion: pedigree.dev/v9\nkind: ModelDeployment\n",
        "has apiVersion 'pedigree.dev/v9', wanted pedigree.dev/v1alpha1",
    ),
    "a misspelt field": (
        "apiVersion: pedigree.dev/v1alpha1\nkind: ModelDeployment\n"
        "metadata: {name: x}\nspec: {models: [{name: m, expectDigest: x}]}\n",
        "spec.models[0] has the field 'expectDigest'",
    ),
    "too many aliases": (
        "a: &a [x]\nb: [" + ", ".join(["*a"] * 21) + "]\n",
        "has more than 20 aliases",
    ),
    "a Python object": ("!!python/object/apply:os.getcwd []\n", "is no YAML"),
    "deep nesting": ("[" * 5000, "is nested deeper than 100 levels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_manifest_that_makes_no_sense_is_wrong_usage(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = WRONG[case]
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    assert gate(path, "--json") == 2
    shown = capsys.readouterr()
    assert message in shown.err
    error = json.loads(shown.out)
    assert error["schema"] == "pedigree.dev/error/v1"


def test_a_policy_file_without_a_policy_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = str(example("approved"))
    assert main(["gate", "-f", manifest, "--policy", manifest]) == 2
    assert "holds no policy" in capsys.readouterr().err


def test_foreign_kinds_of_the_same_name_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "foreign.yaml"
    path.write_text("apiVersion: airunway.ai/v1\nkind: ModelDeployment\n")
    assert gate(path) == 4


def test_namespace_labels_choose_the_policies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    obj = yaml.safe_load(POLICY.read_text())
    obj["spec"]["match"] = {"namespaceSelector": {"matchLabels": {"stage": "prod"}}}
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(obj))
    command = ["gate", f"-f={example('approved')}", f"--policy={path}", MOUNT]
    command += [f"--reference-models={REFERENCES}"]
    assert main([*command, "--namespace-labels=stage=prod"]) == 0
    assert main(command) == 1
    assert "NoMatchingPolicy" in capsys.readouterr().out
    assert main([*command, "--no-match=Allow"]) == 0


@pytest.mark.parametrize("path", sorted((EXAMPLES / "policies").glob("*.yaml")))
def test_every_example_policy_is_sound(path: Path) -> None:
    for obj in yaml.safe_load_all(path.read_text()):
        if obj["kind"] != "ReferenceModel":
            assert isinstance(load_policy(obj), Policy)
