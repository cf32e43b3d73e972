{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{- /*
What values.schema.json cannot say. All problems are collected and reported at once.
*/ -}}
{{- define "pedigree.problems" -}}
{{- $values := .Values -}}
{{- $problems := list -}}

{{- /* The gate's own namespace is exempt from the gate: it must hold nothing else. */ -}}
{{- if has .Release.Namespace (list "default" "kube-system" "kube-public" "kube-node-lease") -}}
{{- $problems = append $problems (printf "the release is to be installed in the namespace %q, and the namespace of the release is exempt from the gate; install it in one of its own: --namespace pedigree-system --create-namespace" .Release.Namespace) -}}
{{- end -}}

{{- if and (include "pedigree.runsInCluster" .) (not $values.image.repository) -}}
{{- $problems = append $problems "image.repository is empty; build the image with the Dockerfile of this project, push it, and set image.repository to where it is" -}}
{{- end -}}

{{- $bundle := include "pedigree.caPem" . -}}
{{- if eq $values.certificates.mode "certManager" -}}
{{- if $bundle -}}
{{- $problems = append $problems "certificates.caBundle is set while certificates.mode is certManager, which injects the CA itself; leave caBundle empty, or set certificates.mode to existingSecret" -}}
{{- end -}}
{{- else if not $bundle -}}
{{- $problems = append $problems "certificates.mode is existingSecret and certificates.caBundle is empty, so the API server could not trust the webhook; give the CA that signed its certificate (--set-file certificates.caBundle=ca.crt), or set certificates.mode to certManager" -}}
{{- else if not (contains "-----BEGIN CERTIFICATE-----" $bundle) -}}
{{- $problems = append $problems "certificates.caBundle holds no PEM certificate (\"-----BEGIN CERTIFICATE-----\"), neither as it is nor behind base64; give the file's content, not its name (--set-file certificates.caBundle=ca.crt)" -}}
{{- else if contains "PRIVATE KEY" $bundle -}}
{{- $problems = append $problems "certificates.caBundle holds a private key, and it is written to a ConfigMap; give the certificates only" -}}
{{- end -}}
{{- if eq $values.certificates.webhookSecretName $values.certificates.auditSecretName -}}
{{- $problems = append $problems (printf "certificates.webhookSecretName and certificates.auditSecretName are both %q, so each service could pass itself off as the other; give each a Secret of its own" $values.certificates.webhookSecretName) -}}
{{- end -}}

{{- range $component := list "operator" "audit" -}}
{{- $persistence := (index $values $component).persistence -}}
{{- if and $persistence.existingClaim (not $persistence.enabled) -}}
{{- $problems = append $problems (printf "%s.persistence.existingClaim is %q while %s.persistence.enabled is false, so it would not be used; set enabled to true, or leave existingClaim empty" $component $persistence.existingClaim $component) -}}
{{- end -}}
{{- end -}}

{{- $kinds := dict ".pub" "PEM public key" ".pem" "PEM certificate" ".identity.json" "JSON identity (issuer, subject)" ".root.json" "trusted_root.json of Sigstore" -}}
{{- $marks := dict ".pub" "-----BEGIN PUBLIC KEY-----" ".pem" "-----BEGIN CERTIFICATE-----" ".identity.json" "\"issuer\"" ".root.json" "\"certificateAuthorities\"" -}}
{{- $roots := list -}}
{{- range $name, $_ := $values.signatures.trust -}}
{{- if hasSuffix ".root.json" $name -}}
{{- $roots = append $roots (trimSuffix ".root.json" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $content := $values.signatures.trust -}}
{{- $suffix := regexFind "\\.(pub|pem|identity\\.json|root\\.json)$" $name -}}
{{- if contains "PRIVATE KEY" $content -}}
{{- $problems = append $problems (printf "signatures.trust holds a private key as %s, and it is written to a ConfigMap; give the public key or the certificates, and replace that key" $name) -}}
{{- else if not (contains (get $marks $suffix) $content) -}}
{{- $problems = append $problems (printf "signatures.trust holds no %s as %s; give the file's content, not its name (--set-file)" (get $kinds $suffix) $name) -}}
{{- else if eq $suffix ".identity.json" -}}
{{- $identity := fromJson $content -}}
{{- $strange := keys (omit $identity "issuer" "subject" "root") | sortAlpha | join ", " -}}
{{- $named := get $identity "root" | toString -}}
{{- if hasKey $identity "Error" -}}
{{- $problems = append $problems (printf "signatures.trust holds no JSON as %s; give such as {\"issuer\": ..., \"subject\": ..., \"root\": ...}" $name) -}}
{{- else if or $strange (not (hasKey $identity "issuer")) (not (hasKey $identity "subject")) -}}
{{- $problems = append $problems (printf "signatures.trust holds, as %s, an identity with the members %s, at which operator and webhook would not start; give issuer, subject and, where there are several roots, root" $name (keys $identity | sortAlpha | join ", ")) -}}
{{- else if and $named (not (has $named $roots)) -}}
{{- $problems = append $problems (printf "signatures.trust holds, as %s, an identity of the root %q, and no %s.root.json; give that, or name one that is there" $name $named $named) -}}
{{- else if and (not $named) (ne (len $roots) 1) -}}
{{- $problems = append $problems (printf "signatures.trust holds, as %s, an identity without a root, and %d NAME.root.json; give one, or say \"root\": NAME in the identity" $name (len $roots)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with $values.volumes -}}
{{- if and .enabled (not .namespaces) -}}
{{- $problems = append $problems "volumes.enabled is true and volumes.namespaces is empty, so no claim would be read; name the namespaces, or leave enabled false" -}}
{{- end -}}
{{- if and .namespaces (not .enabled) -}}
{{- $problems = append $problems "volumes.namespaces is set while volumes.enabled is false, so no claim would be read; set enabled to true, or leave namespaces empty" -}}
{{- end -}}
{{- if ne (kindIs "invalid" .runAsUser) (kindIs "invalid" .runAsGroup) -}}
{{- $problems = append $problems "one of volumes.runAsUser and volumes.runAsGroup is null and the other is not; set both, or leave both to the platform" -}}
{{- end -}}
{{- end -}}

{{- range $component := list "operator" "webhook" "audit" -}}
{{- range $variable := (index $values $component).extraEnv -}}
{{- if hasPrefix "PEDIGREE_" $variable.name -}}
{{- $problems = append $problems (printf "%s.extraEnv sets %s, which the chart sets from its other values; set the value that it belongs to" $component $variable.name) -}}
{{- end -}}
{{- end -}}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/component" -}}
{{- if hasKey (index $values $component).podLabels $label -}}
{{- $problems = append $problems (printf "%s.podLabels sets %s, by which the Deployment finds its Pods; remove it" $component $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- join "\n" $problems -}}
{{- end }}
