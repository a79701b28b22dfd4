{{/*
Written by `serin docs` from crates/serin/src/cli/rights.rs: what the operator may do in the namespaces of the canaries.
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
# For clusters that require it of a client that makes objects owned by a Canary.
- apiGroups: [flagger.app]
  resources: [canaries/finalizers]
  verbs: [update]
# `delete` takes away what was settled a day ago, or 20 others later.
- apiGroups: [serin.dev]
  resources: [releaseactions]
  verbs: [list, watch, delete]
- apiGroups: [serin.dev]
  resources: [releaseactions/status]
  verbs: [patch]
- apiGroups: [flagger.app]
  resources: [metrictemplates]
  verbs: [get, list, watch]
- apiGroups: [flagger.app]
  resources: [alertproviders]
  verbs: [get, list, watch]
# Those that a MetricTemplate of type keptn names.
- apiGroups: [metrics.keptn.sh]
  resources: [keptnmetrics]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# `patch` takes a DaemonSet from its nodes and gives it back to them: it has no `scale`.
- apiGroups: [apps]
  resources: [daemonsets]
  verbs: [get, list, watch, create, update, patch]
# `delete` is never used: the admission plugin OwnerReferencesPermissionEnforcement (on by default on
# OpenShift) asks it of a client that changes an owner reference, as Serin does when it gives a
# Service or a route back to its user.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Whose the pods behind a Service are, asked before traffic moves to them: metadata only.
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get]
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
# Those that a target refers to are read, and copied for the primary. List and watch are asked for
# metadata only; no data of a ConfigMap or Secret that no canary refers to is ever read. Without
# config tracking (--enable-config-tracking=false) and without guard.soak, which keeps what a primary
# ran before, they can go.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get, list, watch, create, update]
{{- end }}
{{- if .Values.rbac.autoscalers }}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, update, patch]
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
  verbs: [get, list, watch, create, patch, delete]
# Those that spec.routeRef names are read; a derived one is made beside them for A/B tests and plain
# Services.
- apiGroups: [traefik.io]
  resources: [ingressroutes]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- if has "gatewayapi" .Values.routers }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# Only where a Canary asks for what not every implementation does: the class of a route's Gateways
# tells what theirs does. GatewayClasses have no namespace; without the right, and for a Gateway out
# of reach, what is not known is said.
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways, gatewayclasses]
  verbs: [get, list, watch]
{{- end }}
{{- end }}

{{- define "serin.leaseVerbs" -}}
[get, list, watch, create, update]
{{- end }}
