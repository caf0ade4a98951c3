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
{{- range $name := list "images" "serviceAccounts" "endpoints" "roleArns" }}
{{- with get $.Values.policy $name }}
{{- $_ := set $policy $name . }}
{{- else }}
{{- if kindIs "slice" (get $.Values.policy $name) }}
{{- $_ := set $policy $name list }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.policy.requiredLabel }}
{{- $_ := set $policy "requiredLabel" . }}
{{- end }}
{{- toYaml $policy }}
{{- end }}

{{- define "s3-migration.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "s3-migration.workerImage" -}}
{{- printf "%s:%s" .Values.worker.image.repository (default .Chart.AppVersion .Values.worker.image.tag) }}
{{- end }}
