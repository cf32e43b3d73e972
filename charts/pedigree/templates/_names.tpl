{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- /*
Names are fixed, not derived from the release: the custom resources and the webhook
configuration exist once in a cluster, so there is one gate in a cluster. A second
release is refused by Helm because the cluster-wide objects belong to the first.
Arguments: dict "root" $ "component" "operator"|"webhook"|"audit"
*/ -}}

{{- define "pedigree.componentName" -}}
pedigree-{{ .component }}
{{- end }}

{{- /* Never changes for an installed Deployment: selectors are immutable. */ -}}
{{- define "pedigree.selectorLabels" -}}
app.kubernetes.io/name: pedigree
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pedigree.commonLabels" -}}
app.kubernetes.io/part-of: pedigree
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "pedigree.labels" -}}
{{ include "pedigree.selectorLabels" . }}
{{ include "pedigree.commonLabels" .root }}
{{- end }}

{{- define "pedigree.image" -}}
{{- $image := .Values.image -}}
{{- $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "pedigree.auditUrl" -}}
https://pedigree-audit.{{ .Release.Namespace }}.svc:8444
{{- end }}

{{- /* "true", or nothing if the components run outside; see values.yaml. */ -}}
{{- define "pedigree.runsInCluster" -}}
{{- if not .Values.webhook.service.externalName }}true{{ end -}}
{{- end }}

{{- /* The value, or what its base64 form stands for; checked in _checks.tpl. */ -}}
{{- define "pedigree.caPem" -}}
{{- $given := .Values.certificates.caBundle | trim -}}
{{- if or (not $given) (contains "-----BEGIN" $given) -}}
{{- $given -}}
{{- else -}}
{{- $given | b64dec | trim -}}
{{- end -}}
{{- end }}
