{{- define "s3-migration.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release name alone, if it contains the chart's name. */}}
{{- define "s3-migration.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "s3-migration.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "s3-migration.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "s3-migration.selectorLabels" -}}
app.kubernetes.io/name: {{ include "s3-migration.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "s3-migration.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "s3-migration.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "s3-migration.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "s3-migration.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- required "serviceAccount.name is required if serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Without the lists that are null and the label that is empty: these are left out of the operator's file. */}}
{{- define "s3-migration.policy" -}}
{{- $policy := dict "strict" (default false .Values.policy.strict) "ownIdentity" (default dict .Values.policy.ownIdentity) }}
{{- range $name := list "images" "serviceAccounts" "endpoints" "roleArns" "csiDrivers" "webhookHosts" }}
{{- with get $.Values.policy $name }}
{{- $_ := set $policy $name . }}
{{- else }}
{{- if kindIs "slice" (get $.Values.policy $name) }}
{{- $_ := set $policy $name list }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name := list "webhookNetworks" "webhookRefusedNetworks" }}
{{- with get $.Values.policy $name }}
{{- $_ := set $policy $name . }}
{{- end }}
{{- end }}
{{- with .Values.policy.requiredLabel }}
{{- $_ := set $policy "requiredLabel" . }}
{{- end }}
{{- toYaml $policy }}
{{- end }}

{{/* An image by its digest if there is one, else by its tag. Takes a list: the image's values, and the chart's version. */}}
{{- define "s3-migration.reference" -}}
{{- $image := index . 0 }}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{- define "s3-migration.image" -}}
{{- include "s3-migration.reference" (list .Values.image .Chart.AppVersion) }}
{{- end }}

{{- define "s3-migration.workerImage" -}}
{{- include "s3-migration.reference" (list .Values.worker.image .Chart.AppVersion) }}
{{- end }}

{{/* Values over defaults over what nothing may loosen. Values that are null leave the field to the cluster. */}}
{{- define "s3-migration.podSecurityContext" -}}
{{- $context := dict "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- range $name, $value := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{- $_ := set $context $name $value }}
{{- end }}
{{- end }}
{{- $_ := set $context "runAsNonRoot" true }}
{{- toYaml $context }}
{{- end }}

{{- define "s3-migration.containerSecurityContext" -}}
{{- $context := dict }}
{{- range $name, $value := .Values.containerSecurityContext }}
{{- if not (kindIs "invalid" $value) }}
{{- $_ := set $context $name $value }}
{{- end }}
{{- end }}
{{- $_ := set $context "allowPrivilegeEscalation" false }}
{{- $_ := set $context "readOnlyRootFilesystem" true }}
{{- $_ := set $context "capabilities" (dict "drop" (list "ALL")) }}
{{- toYaml $context }}
{{- end }}

{{- define "s3-migration.topologySpreadConstraints" -}}
{{- $selector := dict "matchLabels" (include "s3-migration.selectorLabels" . | fromYaml) }}
{{- $constraints := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (set (deepCopy .) "labelSelector" $selector)) }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}

{{/* Labels of the pod of `helm test`. */}}
{{- define "s3-migration.testLabels" -}}
app.kubernetes.io/name: {{ include "s3-migration.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}
