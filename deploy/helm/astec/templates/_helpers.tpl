{{- define "astec.fullname" -}}
{{- if contains "astec" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-astec{{ end }}
{{- end }}

{{- define "astec.selector" -}}
app.kubernetes.io/name: astec
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "astec.labels" -}}
{{ include "astec.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
{{- end }}

{{- define "astec.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "astec.fullname" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{/* The folder of the artifact in the container. */}}
{{- define "astec.artifact" -}}
/model{{ with .Values.model.path }}/{{ . }}{{ end }}
{{- end }}

{{/* An address of a bucket as rclone has it: access is by the environment or the node's identity. */}}
{{- define "astec.remote" -}}
{{- $uri := .Values.model.fetch.uri | trimSuffix "/" -}}
{{- if hasPrefix "s3://" $uri }}:s3,provider={{ .Values.model.fetch.provider }},env_auth=true:{{ trimPrefix "s3://" $uri }}
{{- else if hasPrefix "gs://" $uri }}:gcs,env_auth=true:{{ trimPrefix "gs://" $uri }}
{{- else }}{{ fail (printf "model.fetch.uri is %q; give s3://BUCKET/FOLDER or gs://BUCKET/FOLDER" .Values.model.fetch.uri) }}
{{- end }}
{{- end }}
