# SPDX-License-Identifier: Apache-2.0
"""Which programs there are and at which version; the versions are those in go/*/go.mod.

There is one Go module per set of dependencies: kwok and Helm ask for other versions of
the Kubernetes libraries than Kubernetes itself.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

GO_MODULES = Path(__file__).parent / "go"

_VERSION = re.compile(r"^(?:require\s+)?(\S+) (v\S+)(?: // indirect)?$")
_GO = re.compile(r"^go (\d+\.\d+(?:\.\d+)?)$")


@dataclass(frozen=True)
class GoModule:
    """One folder with a go.mod.

    Attributes:
        folder: Holds go.mod and go.sum.
        named_after: Label -> module path; these versions name the cache folder.
    """

    folder: Path
    named_after: tuple[tuple[str, str], ...]

    @property
    def cache_name(self) -> str:
        """The cache folder's name, such as ``kwok-v0.8.0``."""
        found = versions(self.folder / "go.mod")
        return "_".join(f"{label}-{found[path]}" for label, path in self.named_after)

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that builds it."""
        for line in (self.folder / "go.mod").read_text("utf-8").splitlines():
            if match := _GO.match(line):
                return version_tuple(match[1])
        raise ValueError(f"{self.folder / 'go.mod'} has no go line")


@dataclass(frozen=True)
class Program:
    """One program and how it is built.

    Attributes:
        name: Of the program and of its file.
        module: Where it is pinned.
        package: The Go package of its main function.
        source: The Go module that the package is in.
        version_variables: Go variables that get the version at link time.
    """

    name: str
    module: GoModule
    package: str
    source: str
    version_variables: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Its pinned version, such as ``v1.37.2``."""
        return versions(self.module.folder / "go.mod")[self.source]

    @property
    def link_flags(self) -> str:
        """No symbols, no debug information, and the version written in.

        Without it the API server calls itself v0.0.0-master, which confuses clients.
        """
        stamps = [f"-X {name}={self.version}" for name in self.version_variables]
        return " ".join(["-s -w", *stamps])


def version_tuple(text: str) -> tuple[int, ...]:
    """``"1.26.8"`` -> ``(1, 26, 8)``; what follows the numbers is left out."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return () if match is None else tuple(int(part) for part in match[0].split("."))


@functools.cache
def versions(go_mod: Path) -> dict[str, str]:
    """Module path -> version, of everything that a go.mod requires."""
    found: dict[str, str] = {}
    for line in go_mod.read_text("utf-8").splitlines():
        if match := _VERSION.match(line.strip()):
            found[match[1]] = match[2]
    return found


KUBERNETES = GoModule(
    GO_MODULES / "kubernetes",
    (("kubernetes", "k8s.io/kubernetes"), ("etcd", "go.etcd.io/etcd/server/v3")),
)
KWOK = GoModule(GO_MODULES / "kwok", (("kwok", "sigs.k8s.io/kwok"),))
HELM = GoModule(GO_MODULES / "helm", (("helm", "helm.sh/helm/v4"),))
_DISTRIBUTION = "github.com/distribution/distribution/v3"
REGISTRY = GoModule(GO_MODULES / "registry", (("registry", _DISTRIBUTION),))
_GATEWAY = "github.com/versity/versitygw"
OBJECT_STORE = GoModule(GO_MODULES / "objectstore", (("objectstore", _GATEWAY),))
_FAKE_GCS = "github.com/fsouza/fake-gcs-server"
GCS = GoModule(GO_MODULES / "gcs", (("gcs", _FAKE_GCS),))


def _kubernetes(name: str) -> Program:
    return Program(
        name,
        KUBERNETES,
        package=f"k8s.io/kubernetes/cmd/{name}",
        source="k8s.io/kubernetes",
        version_variables=(
            "k8s.io/component-base/version.gitVersion",
            "k8s.io/client-go/pkg/version.gitVersion",
        ),
    )


_ETCD = "go.etcd.io/etcd/server/v3"
PROGRAMS = {
    program.name: program
    for program in (  # in the order of building: what is needed most comes first
        Program("etcd", KUBERNETES, package=_ETCD, source=_ETCD),
        _kubernetes("kube-apiserver"),
        _kubernetes("kubectl"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        Program(
            "kwok",
            KWOK,
            package="sigs.k8s.io/kwok/cmd/kwok",
            source="sigs.k8s.io/kwok",
        ),
        Program(
            "helm",
            HELM,
            package="helm.sh/helm/v4/cmd/helm",
            source="helm.sh/helm/v4",
            version_variables=("helm.sh/helm/v4/internal/version.version",),
        ),
        Program("registry", REGISTRY, package=".", source=_DISTRIBUTION),
        Program("objectstore", OBJECT_STORE, package=".", source=_GATEWAY),
        Program("gcs", GCS, package=".", source=_FAKE_GCS),
    )
}

# What kwok does to nodes and Pods is said in these files of its module.
KWOK_STAGES = (
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "kustomize/stage/pod/fast/pod-ready.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
)
