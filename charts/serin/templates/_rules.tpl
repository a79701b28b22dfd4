{{/*
Written by `serin docs` from crates/serin/src/rights.rs: what the operator may do in the namespaces of the canaries.
*/}}
{{- define "serin.rules" -}}
# `get` when a list is older than what the operator itself has written, as after a restore from a
# backup.
- apiGroups: [flagger.app]
  resources: [canaries]
  verbs: [get, list, watch, patch]
- apiGroups: [flagger.app]
  resources: [canaries/status]
  verbs: [patch]
# For clusters that ask it of whoever makes something that is owned by a Canary.
- apiGroups: [flagger.app]
  resources: [canaries/finalizers]
  verbs: [update]
- apiGroups: [flagger.app]
  resources: [metrictemplates]
  verbs: [get, list, watch]
- apiGroups: [flagger.app]
  resources: [alertproviders]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.credentials }}
# The Secrets that metric templates and alert providers name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- if or (eq (include "serin.configTracking" .) "true") .Values.rbac.soak }}
# Copies of the ConfigMaps and Secrets that a target refers to. Without config tracking
# (--enable-config-tracking=false) and without guard.soak, which keeps what a primary ran before, they
# can go.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get, list, watch, create, update]
{{- end }}
{{- if .Values.rbac.autoscalers }}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, update]
{{- end }}
{{- if contains "selector=" (join "," .Values.gatewayMetrics) }}
# Only to find the gateway's pods by their labels (--gateway-metrics=selector=...).
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
{{- if has "traefik" .Values.routers }}
- apiGroups: [traefik.io]
  resources: [traefikservices]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- end }}

{{- define "serin.leaseVerbs" -}}
[get, create, update]
{{- end }}
