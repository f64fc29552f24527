{{/* Each mount with its volume: what one of the two has, the other has under the same condition. */}}
{{- define "broker.volumeMounts" -}}
{{- if include "broker.embedded" . }}
- { name: data, mountPath: /var/lib/service-token-broker }
{{- end }}
{{- if include "broker.hasFile" . }}
- { name: file, mountPath: /etc/service-token-broker/file, readOnly: true }
{{- end }}
{{- if .Values.tls.secretName }}
- { name: tls, mountPath: /etc/service-token-broker/tls, readOnly: true }
{{- end }}
{{- if .Values.caBundle.configMap }}
- { name: authorities, mountPath: /etc/service-token-broker/authorities, readOnly: true }
{{- end }}
{{- if .Values.provider.tokenAudience }}
- { name: provider-token, mountPath: /var/run/service-token-broker/provider, readOnly: true }
{{- end }}
{{- if .Values.provider.certificateSecretName }}
- { name: provider-certificate, mountPath: /etc/service-token-broker/provider, readOnly: true }
{{- end }}
{{- if .Values.clusterKeys.enabled }}
- { name: cluster-keys, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "broker.volumes" -}}
{{- if include "broker.embedded" . }}
- name: data
  persistentVolumeClaim: { claimName: {{ default (printf "%s-data" (include "broker.fullname" .)) .Values.persistence.existingClaim }} }
{{- end }}
{{- if include "broker.hasFile" . }}
- name: file
  configMap:
    {{- if .Values.file.existingConfigMap }}
    name: {{ .Values.file.existingConfigMap }}
    items: [{ key: {{ .Values.file.key | quote }}, path: broker.yml }]
    {{- else }}
    name: {{ include "broker.fullname" . }}-file
    {{- end }}
{{- end }}
{{- if .Values.tls.secretName }}
- name: tls
  secret: { secretName: {{ .Values.tls.secretName }} }
{{- end }}
{{- if .Values.caBundle.configMap }}
- name: authorities
  configMap:
    name: {{ .Values.caBundle.configMap }}
    items: [{ key: {{ .Values.caBundle.key | quote }}, path: ca.crt }]
{{- end }}
{{- if .Values.provider.tokenAudience }}
- name: provider-token
  projected:
    sources:
      - serviceAccountToken: { path: token, audience: {{ .Values.provider.tokenAudience | quote }}, expirationSeconds: 3600 }
{{- end }}
{{- if .Values.provider.certificateSecretName }}
- name: provider-certificate
  secret: { secretName: {{ .Values.provider.certificateSecretName }} }
{{- end }}
{{- if .Values.clusterKeys.enabled }}
- name: cluster-keys
  projected:
    sources:
      - serviceAccountToken: { path: token }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
