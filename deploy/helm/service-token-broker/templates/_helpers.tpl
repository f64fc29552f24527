{{- define "broker.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "broker.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "broker.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "broker.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "broker.serviceAccountName" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else -}}
{{- include "broker.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "broker.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "broker.embedded" -}}
{{- if eq (toString .Values.settings.BROKER_SECRET_STORE) "embedded" -}}true{{- end -}}
{{- end -}}

{{- define "broker.replicas" -}}
{{- if kindIs "invalid" .Values.replicas -}}
{{- ternary 1 2 (eq (include "broker.embedded" .) "true") -}}
{{- else -}}
{{- int .Values.replicas -}}
{{- end -}}
{{- end -}}

{{- define "broker.leastReplicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- int .Values.autoscaling.minReplicas -}}
{{- else -}}
{{- include "broker.replicas" . -}}
{{- end -}}
{{- end -}}

{{- define "broker.hasFile" -}}
{{- if or .Values.file.sections .Values.file.existingConfigMap -}}true{{- end -}}
{{- end -}}

{{/* The URL at which peers reach the broker; empty where nobody has said. */}}
{{- define "broker.publicUrl" -}}
{{- if .Values.settings.BROKER_PUBLIC_URL -}}
{{- .Values.settings.BROKER_PUBLIC_URL -}}
{{- else if and .Values.ingress.enabled .Values.ingress.host -}}
{{- printf "https://%s" .Values.ingress.host -}}
{{- end -}}
{{- end -}}

{{/* A quantity of Kubernetes as a number, such as 384Mi; 0 where it cannot be read. */}}
{{- define "broker.quantity" -}}
{{- $number := regexFind "^[0-9.]+" (toString .) -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- mulf (float64 $number) (float64 (get $units (trimPrefix $number (toString .)))) -}}
{{- end -}}

{{/* A value as an environment variable has it. Numbers of YAML are floating-point numbers, which print as 2.592e+06. */}}
{{- define "broker.text" -}}
{{- if kindIs "float64" . -}}{{- int64 . -}}{{- else -}}{{- toString . -}}{{- end -}}
{{- end -}}

{{/* Every setting that the ConfigMap has: the values' own, and those that follow from where the chart puts things. */}}
{{- define "broker.settings" -}}
{{- range $name, $value := .Values.settings }}
{{- if and (ne $name "BROKER_PUBLIC_URL") (not (kindIs "invalid" $value)) }}
{{ $name }}: {{ include "broker.text" $value | quote }}
{{- end }}
{{- end }}
{{- with include "broker.publicUrl" . }}
BROKER_PUBLIC_URL: {{ . | quote }}
{{- end }}
PORT: '3000'
HOST: 0.0.0.0
BROKER_MANAGEMENT_PORT: '8081'
BROKER_MANAGEMENT_HOST: 0.0.0.0
{{- if include "broker.hasFile" . }}
BROKER_CONFIG: /etc/service-token-broker/file/broker.yml
{{- end }}
{{- if include "broker.embedded" . }}
BROKER_DATA_DIR: /var/lib/service-token-broker/data
{{- end }}
{{- if .Values.tls.secretName }}
BROKER_TLS_CERT_FILE: /etc/service-token-broker/tls/tls.crt
BROKER_TLS_KEY_FILE: /etc/service-token-broker/tls/tls.key
{{- with .Values.tls.clientCaKey }}
BROKER_TLS_CLIENT_CA_FILE: /etc/service-token-broker/tls/{{ . }}
{{- end }}
{{- end }}
{{- if .Values.caBundle.configMap }}
BROKER_CA_FILE: /etc/service-token-broker/authorities/ca.crt
{{- end }}
{{- if .Values.provider.tokenAudience }}
BROKER_WORKLOAD_TOKEN_FILE: /var/run/service-token-broker/provider/token
{{- end }}
{{- if .Values.provider.certificateSecretName }}
BROKER_CLIENT_CERTIFICATE_FILE: /etc/service-token-broker/provider/tls.crt
BROKER_CLIENT_KEY_FILE: /etc/service-token-broker/provider/tls.key
{{- end }}
{{- end -}}

{{- define "broker.servicePort" -}}
{{- if kindIs "invalid" .Values.service.port -}}
{{- ternary 443 80 (ne .Values.tls.secretName "") -}}
{{- else -}}
{{- int .Values.service.port -}}
{{- end -}}
{{- end -}}
