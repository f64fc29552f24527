{{/*
Values that contradict each other, or are missing, end the command before anything is made: all of them at once, each by its
name. Forms of single values are in values.schema.json.
*/}}
{{- define "broker.checks" -}}
{{- $wrong := list -}}
{{- $settings := .Values.settings -}}
{{- $secret := .Values.secretSettings -}}
{{- $embedded := include "broker.embedded" . -}}
{{- $sections := .Values.file.sections -}}
{{- $fileHasProvider := or .Values.file.existingConfigMap $sections.tokens $sections.providers -}}
{{- $publicUrl := include "broker.publicUrl" . -}}
{{- $least := int (include "broker.leastReplicas" .) -}}

{{- /* Names */ -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "broker.fullname" .)) -}}
{{- $wrong = append $wrong (printf "fullnameOverride: the name %q is not allowed for a Service, which begins with a letter and has lower-case letters, digits and hyphens" (include "broker.fullname" .)) -}}
{{- end -}}
{{- if not .Values.image.repository -}}
{{- $wrong = append $wrong "image.repository: it is required, such as REGISTRY/service-token-broker; deploy/container/Dockerfile builds the image" -}}
{{- end -}}

{{- /* How many */ -}}
{{- if $embedded -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- $wrong = append $wrong "replicas: the embedded store (settings.BROKER_SECRET_STORE) is for one broker; several share AWS Secrets Manager" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- $wrong = append $wrong "autoscaling.enabled: the embedded store (settings.BROKER_SECRET_STORE) is for one broker; several share AWS Secrets Manager" -}}
{{- end -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if not (kindIs "invalid" .Values.replicas) -}}
{{- $wrong = append $wrong "replicas: autoscaling.enabled decides how many there are; remove one of the two" -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- $wrong = append $wrong "autoscaling.minReplicas: it is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" .Values.resources) -}}
{{- $wrong = append $wrong "resources.requests.cpu: autoscaling measures by it, and it is missing" -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "cpu" "memory" -}}
{{- $request := dig "requests" $kind "" $.Values.resources -}}
{{- $limit := dig "limits" $kind "" $.Values.resources -}}
{{- if and $request $limit (gt (float64 (include "broker.quantity" $request)) (float64 (include "broker.quantity" $limit))) -}}
{{- $wrong = append $wrong (printf "resources.requests.%s: %v is more than resources.limits.%s, %v" $kind $request $kind $limit) -}}
{{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- if .enabled -}}
{{- if and (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) -}}
{{- $wrong = append $wrong "podDisruptionBudget.minAvailable: set either it or podDisruptionBudget.maxUnavailable, and the other to null" -}}
{{- else if and (kindIs "invalid" .minAvailable) (kindIs "invalid" .maxUnavailable) -}}
{{- $wrong = append $wrong "podDisruptionBudget.maxUnavailable: set it or podDisruptionBudget.minAvailable" -}}
{{- else if and (gt $least 1) (not (kindIs "invalid" .minAvailable)) (ge (int .minAvailable) $least) -}}
{{- $wrong = append $wrong (printf "podDisruptionBudget.minAvailable: with %d brokers, %d would keep every node from being drained" $least (int .minAvailable)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The store */ -}}
{{- if $embedded -}}
{{- if not (or $secret.BROKER_MASTER_KEY $settings.BROKER_MASTER_KEY_KMS_ID) -}}
{{- $wrong = append $wrong "secretSettings.BROKER_MASTER_KEY: the embedded store needs it, or settings.BROKER_MASTER_KEY_KMS_ID: else the key would lie beside the data" -}}
{{- end -}}
{{- range $name := list "BROKER_AWS_FALLBACK_REGIONS" "BROKER_AWS_ROLE_ARN" -}}
{{- if get $settings $name -}}
{{- $wrong = append $wrong (printf "settings.%s: it is for secrets at AWS, and settings.BROKER_SECRET_STORE is embedded" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $settings.BROKER_MASTER_KEY_KMS_ID (not $settings.AWS_REGION) -}}
{{- $wrong = append $wrong "settings.AWS_REGION: it is required with settings.BROKER_MASTER_KEY_KMS_ID" -}}
{{- end -}}
{{- else -}}
{{- if not $settings.AWS_REGION -}}
{{- $wrong = append $wrong "settings.AWS_REGION: it is required with settings.BROKER_SECRET_STORE=aws" -}}
{{- end -}}
{{- if $secret.BROKER_MASTER_KEY -}}
{{- $wrong = append $wrong "secretSettings.BROKER_MASTER_KEY: it is for the embedded store, and settings.BROKER_SECRET_STORE is aws" -}}
{{- end -}}
{{- if $settings.BROKER_MASTER_KEY_KMS_ID -}}
{{- $wrong = append $wrong "settings.BROKER_MASTER_KEY_KMS_ID: it is for the embedded store, and settings.BROKER_SECRET_STORE is aws" -}}
{{- end -}}
{{- if .Values.persistence.existingClaim -}}
{{- $wrong = append $wrong "persistence.existingClaim: a volume is for the embedded store, and settings.BROKER_SECRET_STORE is aws" -}}
{{- end -}}
{{- end -}}
{{- range $name := list "BROKER_AWS_EXTERNAL_ID" "BROKER_AWS_ROLE_SESSION_NAME" -}}
{{- if and (get $settings $name) (not $settings.BROKER_AWS_ROLE_ARN) -}}
{{- $wrong = append $wrong (printf "settings.%s: it counts with settings.BROKER_AWS_ROLE_ARN alone" $name) -}}
{{- end -}}
{{- end -}}
{{- $credentials := default "service-token-broker/credentials" $settings.BROKER_CREDENTIALS_SECRET_ID -}}
{{- $token := default "service-token-broker/token" $settings.BROKER_TOKEN_SECRET_ID -}}
{{- $peers := splitList "," (nospace (default "service-token-broker/peers" $settings.BROKER_PEERS_SECRET_ID)) -}}
{{- if eq $token $credentials -}}
{{- $wrong = append $wrong "settings.BROKER_TOKEN_SECRET_ID: it names the same secret as settings.BROKER_CREDENTIALS_SECRET_ID" -}}
{{- end -}}
{{- if or (has $token $peers) (has $credentials $peers) -}}
{{- $wrong = append $wrong "settings.BROKER_PEERS_SECRET_ID: it names the same secret as another setting" -}}
{{- end -}}

{{- /* The provider */ -}}
{{- if not $fileHasProvider -}}
{{- range $name := list "BROKER_ISSUER" "BROKER_AUDIENCE" -}}
{{- if not (get $settings $name) -}}
{{- $wrong = append $wrong (printf "settings.%s: it is required, exactly as in the provider's tokens" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (has $settings.BROKER_PROFILE (list "zitadel" "authentik")) (not $settings.BROKER_SERVICE_CLIENT_IDS) -}}
{{- $wrong = append $wrong (printf "settings.BROKER_SERVICE_CLIENT_IDS: the profile %s needs the client ids whose tokens count as service tokens" $settings.BROKER_PROFILE) -}}
{{- end -}}
{{- range $name := list "BROKER_ISSUER" "BROKER_TOKEN_ENDPOINT" "BROKER_JWKS_URI" "BROKER_PUBLIC_URL" -}}
{{- if and (hasPrefix "http:" (toString (get $settings $name))) (ne (toString $settings.BROKER_ALLOW_INSECURE_HTTP) "true") -}}
{{- $wrong = append $wrong (printf "settings.%s: it is http; https, or settings.BROKER_ALLOW_INSECURE_HTTP=true" $name) -}}
{{- end -}}
{{- end -}}
{{- $method := default "" $settings.BROKER_CLIENT_AUTHENTICATION -}}
{{- if and (eq $method "kms") (not $settings.BROKER_KMS_KEY_ID) -}}
{{- $wrong = append $wrong "settings.BROKER_KMS_KEY_ID: it is required with settings.BROKER_CLIENT_AUTHENTICATION=kms" -}}
{{- else if and (ne $method "kms") $settings.BROKER_KMS_KEY_ID -}}
{{- $wrong = append $wrong "settings.BROKER_KMS_KEY_ID: it counts with settings.BROKER_CLIENT_AUTHENTICATION=kms alone" -}}
{{- end -}}
{{- if eq $method "workload_token" -}}
{{- if eq (not .Values.provider.tokenAudience) (not $settings.BROKER_AWS_TOKEN_AUDIENCE) -}}
{{- $wrong = append $wrong "provider.tokenAudience: settings.BROKER_CLIENT_AUTHENTICATION is workload_token, which needs either it or settings.BROKER_AWS_TOKEN_AUDIENCE" -}}
{{- end -}}
{{- else -}}
{{- if .Values.provider.tokenAudience -}}
{{- $wrong = append $wrong "provider.tokenAudience: it counts with settings.BROKER_CLIENT_AUTHENTICATION=workload_token alone" -}}
{{- end -}}
{{- if $settings.BROKER_AWS_TOKEN_AUDIENCE -}}
{{- $wrong = append $wrong "settings.BROKER_AWS_TOKEN_AUDIENCE: it counts with settings.BROKER_CLIENT_AUTHENTICATION=workload_token alone" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $method "mtls") (not .Values.provider.certificateSecretName) (not .Values.file.existingConfigMap) -}}
{{- $wrong = append $wrong "provider.certificateSecretName: it is required with settings.BROKER_CLIENT_AUTHENTICATION=mtls" -}}
{{- end -}}
{{- if and (ne $method "mtls") .Values.provider.certificateSecretName -}}
{{- $wrong = append $wrong "provider.certificateSecretName: it counts with settings.BROKER_CLIENT_AUTHENTICATION=mtls alone" -}}
{{- end -}}

{{- /* Times */ -}}
{{- $ttl := int (default 300 $settings.BROKER_CACHE_TTL_SECONDS) -}}
{{- $skew := 60 -}}
{{- if not (kindIs "invalid" $settings.BROKER_CLOCK_SKEW_SECONDS) -}}{{- $skew = int $settings.BROKER_CLOCK_SKEW_SECONDS -}}{{- end -}}
{{- $minimum := 3600 -}}
{{- if not (kindIs "invalid" $settings.BROKER_MIN_REMAINING_SECONDS) -}}{{- $minimum = int $settings.BROKER_MIN_REMAINING_SECONDS -}}{{- end -}}
{{- if le $minimum (add $ttl $skew | int) -}}
{{- $wrong = append $wrong "settings.BROKER_MIN_REMAINING_SECONDS: it must be more than settings.BROKER_CACHE_TTL_SECONDS plus settings.BROKER_CLOCK_SKEW_SECONDS" -}}
{{- end -}}

{{- /* Where settings come from */ -}}
{{- range $name := keys $secret | sortAlpha -}}
{{- if hasKey $settings $name -}}
{{- $wrong = append $wrong (printf "secretSettings.%s: settings.%s has it too; remove one of the two" $name $name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if or (hasPrefix "BROKER_" .name) (has .name (list "PORT" "HOST" "AWS_REGION")) (has (upper .name) (list "HTTPS_PROXY" "HTTP_PROXY" "NO_PROXY")) (hasKey $secret .name) -}}
{{- $wrong = append $wrong (printf "extraEnv: %s is a setting; it belongs in settings or secretSettings" .name) -}}
{{- else if has (upper .name) (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN") -}}
{{- $wrong = append $wrong (printf "extraEnv: %s may be a secret, which would stand in the release; it belongs in secretSettings" .name) -}}
{{- end -}}
{{- end -}}
{{- if not (eq (hasKey $secret "AWS_ACCESS_KEY_ID") (hasKey $secret "AWS_SECRET_ACCESS_KEY")) -}}
{{- $wrong = append $wrong "secretSettings.AWS_ACCESS_KEY_ID: it and secretSettings.AWS_SECRET_ACCESS_KEY are given together, or neither" -}}
{{- else if and (hasKey $secret "AWS_ACCESS_KEY_ID") .Values.serviceAccount.roleArn -}}
{{- $wrong = append $wrong "secretSettings.AWS_ACCESS_KEY_ID: it would win over serviceAccount.roleArn; remove one of the two" -}}
{{- end -}}
{{- if and $sections .Values.file.existingConfigMap -}}
{{- $wrong = append $wrong "file.existingConfigMap: file.sections has a file too; remove one of the two" -}}
{{- end -}}
{{- range $name, $issuer := $sections.trusted_issuers -}}
{{- if and (not $publicUrl) (not $issuer.audience) -}}
{{- $wrong = append $wrong (printf "settings.BROKER_PUBLIC_URL: it is the audience of file.sections.trusted_issuers.%s, and missing" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $issuer := $sections.trusted_issuers -}}
{{- range $member := list "ca_file" "token_file" -}}
{{- $path := toString (default "" (get $issuer $member)) -}}
{{- if and (hasPrefix "/var/run/secrets/kubernetes.io/serviceaccount/" $path) (not $.Values.clusterKeys.enabled) (not $.Values.extraVolumeMounts) -}}
{{- $wrong = append $wrong (printf "clusterKeys.enabled: file.sections.trusted_issuers.%s.%s is in a folder that only it mounts" $name $member) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $peer, $entry := $sections.peers -}}
{{- range $identity := $entry.identities -}}
{{- if and $identity.issuer (not (hasKey (default dict $sections.trusted_issuers) (toString $identity.issuer))) -}}
{{- $wrong = append $wrong (printf "file.sections.peers.%s: its issuer %q is not in file.sections.trusted_issuers" $peer (toString $identity.issuer)) -}}
{{- end -}}
{{- end -}}
{{- range $token := $entry.tokens -}}
{{- if not (or (eq (toString $token) "default") (hasKey (default dict $sections.tokens) (toString $token))) -}}
{{- $wrong = append $wrong (printf "file.sections.peers.%s: its token %q is not in file.sections.tokens" $peer (toString $token)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $audit := toString (default "off" $settings.BROKER_AUDIT) -}}
{{- if not (has $audit (list "off" "stdout")) -}}
{{- $mounted := false -}}
{{- range .Values.extraVolumeMounts -}}
{{- if hasPrefix (printf "%s/" .mountPath) $audit -}}{{- $mounted = true -}}{{- end -}}
{{- end -}}
{{- if not (or $mounted (and $embedded (hasPrefix "/var/lib/service-token-broker/data/" $audit))) -}}
{{- $wrong = append $wrong (printf "settings.BROKER_AUDIT: the root file system is read-only, and no volume of extraVolumeMounts holds %s; stdout needs none" $audit) -}}
{{- end -}}
{{- end -}}

{{- /* What is mounted: a Deployment that names a volume twice, or none, is refused after the rest was made */ -}}
{{- $volumes := list -}}
{{- range fromYamlArray (include "broker.volumes" .) -}}
{{- if has .name $volumes -}}
{{- $wrong = append $wrong (printf "extraVolumes: the name %s is taken" .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $paths := list -}}
{{- range fromYamlArray (include "broker.volumeMounts" .) -}}
{{- if not (has .name $volumes) -}}
{{- $wrong = append $wrong (printf "extraVolumeMounts: there is no volume %s; add it to extraVolumes" .name) -}}
{{- end -}}
{{- if has .mountPath $paths -}}
{{- $wrong = append $wrong (printf "extraVolumeMounts: %s is mounted already" .mountPath) -}}
{{- end -}}
{{- $paths = append $paths .mountPath -}}
{{- end -}}

{{- /* Who it is */ -}}
{{- with .Values.podSecurityContext -}}
{{- if and .runAsNonRoot (not (kindIs "invalid" .runAsUser)) (eq (int .runAsUser) 0) -}}
{{- $wrong = append $wrong "podSecurityContext.runAsUser: 0 is root, and podSecurityContext.runAsNonRoot is true: no pod would start" -}}
{{- end -}}
{{- end -}}
{{- with .Values.serviceAccount -}}
{{- if and (not .create) (not .name) -}}
{{- $wrong = append $wrong "serviceAccount.name: it is required without serviceAccount.create" -}}
{{- end -}}
{{- if and (not .create) (or .roleArn .annotations) -}}
{{- $wrong = append $wrong "serviceAccount.roleArn: it and serviceAccount.annotations have no effect without serviceAccount.create; annotate the account that exists" -}}
{{- end -}}
{{- if and .roleArn (hasKey .annotations "eks.amazonaws.com/role-arn") -}}
{{- $wrong = append $wrong "serviceAccount.roleArn: serviceAccount.annotations has the role too; remove one of the two" -}}
{{- end -}}
{{- end -}}
{{- range $name := keys .Values.podLabels | sortAlpha -}}
{{- if has $name (list "app.kubernetes.io/name" "app.kubernetes.io/instance") -}}
{{- $wrong = append $wrong (printf "podLabels: %s is what the Service selects by" $name) -}}
{{- end -}}
{{- end -}}

{{- /* How it is reached */ -}}
{{- if and .Values.tls.clientCaKey (not .Values.tls.secretName) -}}
{{- $wrong = append $wrong "tls.clientCaKey: client certificates come by TLS, and tls.secretName is missing" -}}
{{- end -}}
{{- if and (eq .Values.service.type "LoadBalancer") (not .Values.tls.secretName) -}}
{{- $wrong = append $wrong "service.type: a LoadBalancer would take the peers' secrets in clear text; it needs tls.secretName" -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- if not .Values.ingress.host -}}
{{- $wrong = append $wrong "ingress.host: it is required with ingress.enabled" -}}
{{- else if $settings.BROKER_PUBLIC_URL -}}
{{- $url := urlParse $settings.BROKER_PUBLIC_URL -}}
{{- if or (ne (lower (regexReplaceAll ":[0-9]+$" $url.host "")) .Values.ingress.host) (not (has $url.path (list "" "/"))) (ne (lower $url.scheme) "https") -}}
{{- $wrong = append $wrong (printf "settings.BROKER_PUBLIC_URL: ingress.host is %s, and its URL https://%s" .Values.ingress.host .Values.ingress.host) -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.ingress.tls.secretName) (not .Values.ingress.tls.byController) -}}
{{- $wrong = append $wrong "ingress.tls.secretName: peers send secrets; it is required, or ingress.tls.byController=true where the controller has the certificate otherwise" -}}
{{- else if and .Values.ingress.tls.secretName .Values.ingress.tls.byController -}}
{{- $wrong = append $wrong "ingress.tls.byController: ingress.tls.secretName has the certificate; remove one of the two" -}}
{{- end -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- if and .Values.ingress.enabled (not .Values.networkPolicy.peers) -}}
{{- $wrong = append $wrong "networkPolicy.peers: it is empty, and ingress.enabled would lead to pods that nobody may reach" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.networkPolicy.monitoring) -}}
{{- $wrong = append $wrong "networkPolicy.monitoring: it is empty, and serviceMonitor.enabled would lead to pods that nobody may reach" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) -}}
{{- range $name := list "HTTPS_PROXY" "HTTP_PROXY" -}}
{{- if or (get $settings $name) (get $secret $name) -}}
{{- $wrong = append $wrong (printf "networkPolicy.extraEgress: %s names a proxy, which nothing lets the pods reach" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "BROKER_ISSUER" "BROKER_TOKEN_ENDPOINT" "BROKER_JWKS_URI" -}}
{{- $url := toString (default "" (get $settings $name)) -}}
{{- if or (hasPrefix "http:" $url) (and (regexMatch "^https://[^/]*:[0-9]+(/|$)" $url) (not (regexMatch "^https://[^/]*:443(/|$)" $url))) -}}
{{- $wrong = append $wrong (printf "networkPolicy.extraEgress: settings.%s is at another port than 443, which nothing lets the pods reach" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) -}}
{{- range $section, $members := dict "trusted_issuers" (list "jwks_uri") "providers" (list "issuer" "token_endpoint" "jwks_uri") -}}
{{- range $name, $entry := default dict (get $sections $section) -}}
{{- range $member := $members -}}
{{- $url := toString (default "" (get $entry $member)) -}}
{{- if and (regexMatch "^https?://[^/]*:[0-9]+(/|$)" $url) (not (regexMatch "^https://[^/]*:443(/|$)" $url)) (not (and $.Values.clusterKeys.enabled (regexMatch (printf "^https://[^/]*:%d(/|$)" (int $.Values.networkPolicy.apiServerPort)) $url))) -}}
{{- $wrong = append $wrong (printf "networkPolicy.extraEgress: file.sections.%s.%s.%s is at another port than 443, which nothing lets the pods reach" $section $name $member) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $wrong -}}
{{- fail (printf "\n\nNothing was made. Wrong values:\n- %s\n" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end -}}
