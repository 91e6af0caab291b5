{{/* The chart's name, as a label value: at most 63 characters. */}}
{{- define "port-dora-controller.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The name of the resources: the release's, with the chart's after it unless it is in there already. At most 63
characters, since some of the names are label values too.
*/}}
{{- define "port-dora-controller.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels of every resource. */}}
{{- define "port-dora-controller.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "port-dora-controller.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{/* The labels that select the pods. A Deployment's selector can't be changed: these stay as they are. */}}
{{- define "port-dora-controller.selectorLabels" -}}
app.kubernetes.io/name: {{ include "port-dora-controller.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "port-dora-controller.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "port-dora-controller.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false, so serviceAccount.name must name an existing ServiceAccount." .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The Secret that is mounted. The chart creates it, or the user does, now or later. */}}
{{- define "port-dora-controller.secretName" -}}
{{- if .Values.secret.create }}
{{- default (include "port-dora-controller.fullname" .) .Values.secret.name }}
{{- else }}
{{- required "secret.create is false, so secret.name must name the Secret with PORT_CLIENT_ID and PORT_CLIENT_SECRET. To install without credentials, leave secret.create at true and give no port.clientId and port.clientSecret." .Values.secret.name }}
{{- end }}
{{- end }}

{{/* "true" if the chart creates the Secret, otherwise empty. Refuses values that contradict each other. */}}
{{- define "port-dora-controller.makesSecret" -}}
{{- $id := .Values.port.clientId }}
{{- $secret := .Values.port.clientSecret }}
{{- if and (or $id $secret) (not .Values.secret.create) }}
{{- fail "port.clientId or port.clientSecret is set, but secret.create is false, so it would not be used. Remove it, or set secret.create to true." }}
{{- else if and $id (not $secret) }}
{{- fail "port.clientId is set but port.clientSecret is not. Set both, or neither to install without credentials." }}
{{- else if and $secret (not $id) }}
{{- fail "port.clientSecret is set but port.clientId is not. Set both, or neither to install without credentials." }}
{{- else if $id -}}
true
{{- end }}
{{- end }}

{{- define "port-dora-controller.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}
