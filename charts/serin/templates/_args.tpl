{{/* Every flag of `serin controller`; a test compares them with the program. */}}
{{- define "serin.args" -}}
- controller
- {{ printf "--mesh-provider=%v" (.Values.meshProvider) | quote }}
- {{ printf "--metrics-server=%v" (.Values.metricsServer) | quote }}
{{- with .Values.gatewayMetrics }}
- {{ printf "--gateway-metrics=%v" (join "," .) | quote }}
{{- end }}
{{- with .Values.watch.namespaces }}
- {{ printf "--namespace=%v" (join "," .) | quote }}
{{- end }}
- {{ printf "--enable-config-tracking=%v" (include "serin.configTracking" .) | quote }}
- {{ printf "--enable-leader-election=%v" (.Values.leaderElection.enabled) | quote }}
{{- with .Values.leaderElection.namespace }}
- {{ printf "--leader-election-namespace=%v" . | quote }}
{{- end }}
- {{ printf "--threadiness=%v" (.Values.threadiness) | quote }}
- {{ printf "--log-level=%v" (.Values.logLevel) | quote }}
- {{ printf "--zap-encoding=%v" (.Values.zapEncoding) | quote }}
- {{ printf "--selector-labels=%v" (join "," .Values.selectorLabels) | quote }}
{{- with .Values.includeLabelPrefix }}
- {{ printf "--include-label-prefix=%v" (join "," .) | quote }}
{{- end }}
{{- with .Values.clusterName }}
- {{ printf "--cluster-name=%v" . | quote }}
{{- end }}
- {{ printf "--no-cross-namespace-refs=%v" (.Values.noCrossNamespaceRefs) | quote }}
{{- with .Values.allowHosts }}
- {{ printf "--allow-hosts=%v" (join "," .) | quote }}
{{- end }}
- {{ printf "--min-interval=%v" (.Values.minInterval) | quote }}
- {{ printf "--drain=%v" (.Values.drain) | quote }}
- {{ printf "--port=%v" (.Values.port) | quote }}
{{- with .Values.address }}
- {{ printf "--address=%v" . | quote }}
{{- end }}
{{- with .Values.eventWebhook.url }}
- {{ printf "--event-webhook=%v" . | quote }}
{{- end }}
{{- if .Values.kubeconfig.secretName }}
- {{ printf "--kubeconfig=/etc/serin/%s" .Values.kubeconfig.secretKey | quote }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
