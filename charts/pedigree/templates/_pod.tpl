{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- /*
What the Pods of all components have in common. Arguments everywhere:
dict "root" $ "component" NAME "values" (the component's part of the values)
*/ -}}

{{- define "pedigree.podMetadata" -}}
labels:
  {{- include "pedigree.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  kubectl.kubernetes.io/default-container: {{ .component }}
  {{- with include "pedigree.caPem" .root }}
  # The CA is read at the start: a new one means new Pods.
  pedigree.dev/ca-sha256: {{ sha256sum . }}
  {{- end }}
  {{- if and .root.Values.signatures.trust (ne .component "audit") }}
  # So are the signers that are trusted.
  pedigree.dev/trust-sha256: {{ .root.Values.signatures.trust | toJson | sha256sum }}
  {{- end }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Everything of the Pod that is not its containers and volumes. */ -}}
{{- define "pedigree.podSettings" -}}
serviceAccountName: {{ include "pedigree.componentName" . }}
# The token comes from a projected volume below: short-lived, and bound to the Pod.
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with .root.Values.podSecurity.runAsUser }}
  runAsUser: {{ int64 . }}
  {{- end }}
  {{- with .root.Values.podSecurity.runAsGroup }}
  runAsGroup: {{ int64 . }}
  {{- end }}
  {{- with .root.Values.podSecurity.fsGroup }}
  fsGroup: {{ int64 . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- /* Image, command, security and probes of the one container. */ -}}
{{- define "pedigree.container" -}}
name: {{ .component }}
image: {{ include "pedigree.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: ["python", "-m", "pedigree_{{ .component }}"]
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: ["ALL"]
  readOnlyRootFilesystem: true
  runAsNonRoot: true
# Plain HTTP on a port of its own, so that a wrong certificate does not restart the Pod.
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pedigree.commonEnv" -}}
- name: PEDIGREE_LOG_LEVEL
  value: {{ .root.Values.logLevel }}
- name: PEDIGREE_DATA_DIR
  value: /var/lib/pedigree
- name: PEDIGREE_METRICS_PORT
  value: "8080"
{{- end }}

{{- /* Of those who write to the ledger. */ -}}
{{- define "pedigree.producerEnv" -}}
- name: PEDIGREE_NO_MATCH
  value: {{ .root.Values.noMatch }}
- name: PEDIGREE_AUDIT_URL
  value: {{ include "pedigree.auditUrl" .root }}
- name: PEDIGREE_AUDIT_CA_FILE
  value: /etc/pedigree/ca/ca.crt
- name: PEDIGREE_TOKEN_FILE
  value: /var/run/secrets/pedigree.dev/token
- name: PEDIGREE_TRUST
  value: {{ ternary "/etc/pedigree/trust" "" (not (empty .root.Values.signatures.trust)) | quote }}
{{- end }}

{{- /* Of those who serve TLS. */ -}}
{{- define "pedigree.serverEnv" -}}
- name: PEDIGREE_TLS_CERT_FILE
  value: /etc/pedigree/tls/tls.crt
- name: PEDIGREE_TLS_KEY_FILE
  value: /etc/pedigree/tls/tls.key
- name: PEDIGREE_TLS_CA_FILE
  value: /etc/pedigree/ca/ca.crt
{{- end }}

{{- define "pedigree.commonMounts" -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /var/lib/pedigree
- name: ca
  mountPath: /etc/pedigree/ca
  readOnly: true
- name: kubernetes
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{- define "pedigree.commonVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
- name: ca
  {{- if eq .root.Values.certificates.mode "certManager" }}
  # The CA alone: nobody but the audit service sees its key.
  secret:
    secretName: {{ .root.Values.certificates.auditSecretName }}
    items:
      - {key: ca.crt, path: ca.crt}
  {{- else }}
  configMap:
    name: pedigree-ca
  {{- end }}
# What a Pod finds there by default, with a token that lives an hour.
- name: kubernetes
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - {key: ca.crt, path: ca.crt}
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{- define "pedigree.producerMounts" -}}
- name: audit-token
  mountPath: /var/run/secrets/pedigree.dev
  readOnly: true
{{- if .root.Values.signatures.trust }}
- name: trust
  mountPath: /etc/pedigree/trust
  readOnly: true
{{- end }}
{{- end }}

{{- /*
A second token, for the audit service. It is sent to it, and is good for nothing else: who
breaks in there cannot use it to talk to the API server in its owner's name.
*/ -}}
{{- define "pedigree.producerVolumes" -}}
- name: audit-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
          {{- with .root.Values.audit.tokenAudience }}
          audience: {{ . }}
          {{- end }}
{{- if .root.Values.signatures.trust }}
- name: trust
  configMap:
    name: pedigree-trust
{{- end }}
{{- end }}

{{- define "pedigree.tlsVolume" -}}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}

{{- define "pedigree.dataVolume" -}}
- name: data
  {{- with .values.persistence }}
  {{- if .enabled }}
  persistentVolumeClaim:
    claimName: {{ .existingClaim | default (include "pedigree.componentName" $) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}

{{- define "pedigree.claim" -}}
{{- with .values.persistence }}
{{- if and .enabled (not .existingClaim) }}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "pedigree.componentName" $ }}
  namespace: {{ $.root.Release.Namespace }}
  labels:
    {{- include "pedigree.labels" $ | nindent 4 }}
  {{- if eq $.component "audit" }}
  annotations:
    # The ledger outlives the release.
    helm.sh/resource-policy: keep
  {{- end }}
spec:
  accessModes: [ReadWriteOnce]
  {{- if not (kindIs "invalid" .storageClassName) }}
  storageClassName: {{ .storageClassName | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pedigree.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "pedigree.componentName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "pedigree.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{- define "pedigree.clusterRoleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "pedigree.componentName" . }}
  labels:
    {{- include "pedigree.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "pedigree.componentName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "pedigree.componentName" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
