{{- define "flowrunner.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 28 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 28 characters: with the number of the shard it is the first part of MQTT client ids, which has 32. */}}
{{- define "flowrunner.fullname" -}}
{{- $name := include "flowrunner.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | trunc 28 | trimSuffix "-" -}}
{{- end -}}

{{- define "flowrunner.selector" -}}
app.kubernetes.io/name: {{ include "flowrunner.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flowrunner.labels" -}}
{{ include "flowrunner.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* An image by its digest, else by its tag: (dict "image" … "tag" DEFAULT) */}}
{{- define "flowrunner.reference" -}}
{{- .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end -}}
{{- end -}}

{{- define "flowrunner.image" -}}
{{- if not .Values.image.repository }}{{ fail "set image.repository: where you pushed the image, such as ghcr.io/OWNER/flowrunner" }}{{ end -}}
{{- include "flowrunner.reference" (dict "image" .Values.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "flowrunner.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end -}}

{{- define "flowrunner.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "flowrunner.flowsPath" -}}
{{- if .Values.flows.git.repository -}}
{{ printf "/git/current/%s" .Values.flows.git.path | trimSuffix "/" }}
{{- else -}}
/etc/flowrunner/flows
{{- end -}}
{{- end -}}

{{/* All flows in one folder that the kubelet swaps as a whole: (dict "root" . "own" NAME-OF-OUR-CONFIGMAP) */}}
{{- define "flowrunner.flowSources" -}}
{{- if .root.Values.flows.files }}
- configMap:
    name: {{ .own }}
{{- end }}
{{- range .root.Values.flows.configMaps }}
- configMap:
    name: {{ . }}
{{- end }}
{{- end -}}

{{- define "flowrunner.checkInputs" -}}
{{- $files := or .Values.flows.files .Values.flows.configMaps -}}
{{- if and $files .Values.flows.git.repository }}{{ fail "set flows.git.repository, or flows.files and flows.configMaps, not both" }}{{ end -}}
{{- if not (or $files .Values.flows.git.repository) }}{{ fail "there are no flows: set flows.files, flows.configMaps or flows.git.repository" }}{{ end -}}
{{- if and (ne .Values.flows.git.auth "none") (not .Values.flows.git.secret) }}{{ fail "set flows.git.secret: flows.git.auth needs one" }}{{ end -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) 10 }}{{ fail "terminationGracePeriodSeconds must be at least 10" }}{{ end -}}
{{- end -}}
