{{- define "contree.labels" -}}
app.kubernetes.io/name: contree
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "contree.name" -}}
{{- printf "%s-%s" (.root.Release.Name | trunc 40 | trimSuffix "-") .role -}}
{{- end -}}

{{- define "contree.secret" -}}
{{- if .Values.secret.create -}}{{ .Release.Name }}-cluster
{{- else -}}{{ required "secret.existing names the Secret with the address of PostgreSQL (or set secret.create)" .Values.secret.existing }}{{- end -}}
{{- end -}}

{{/* Pod of a node: everything that both roles have. */}}
{{- define "contree.pod" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ .root.Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .own.terminationGracePeriodSeconds | default 30 }}
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{ include "contree.labels" . | nindent 14 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {{ toYaml .seccompProfile | nindent 4 }}
containers:
  - name: contree
    image: "{{ $values.image.repository }}:{{ $values.image.tag | default .root.Chart.AppVersion }}"
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: [serve]
    env:
      - { name: HOME, value: /data }
      - { name: CONTREE_DATA_DIR, value: /data/contree }
      - { name: CONTREE_HTTP_LISTEN, value: 0.0.0.0 }
      - { name: CONTREE_HTTP_PORT, value: "9452" }
      - { name: CONTREE_ROLE, value: {{ .role }} }
      - { name: CONTREE_DEFAULT_SANDBOX, value: {{ $values.sandbox }} }
      {{- with $values.projectQuota }}
      - { name: CONTREE_PROJECT_QUOTA, value: {{ . | quote }} }
      {{- end }}
      - { name: CONTREE_OBJECTS, value: {{ required "objects.url names the bucket" $values.objects.url | quote }} }
      - { name: AWS_REGION, value: {{ $values.objects.region }} }
      - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
      - { name: CONTREE_NODE_URL, value: "http://$(POD_IP):9452" }
      - { name: CONTREE_CLUSTER, valueFrom: { secretKeyRef: { name: {{ include "contree.secret" .root }}, key: cluster } } }
      - { name: CONTREE_CLUSTER_SECRET, valueFrom: { secretKeyRef: { name: {{ include "contree.secret" .root }}, key: cluster-secret } } }
      - { name: AWS_ACCESS_KEY_ID, valueFrom: { secretKeyRef: { name: {{ include "contree.secret" .root }}, key: access-key-id } } }
      - { name: AWS_SECRET_ACCESS_KEY, valueFrom: { secretKeyRef: { name: {{ include "contree.secret" .root }}, key: secret-access-key } } }
      {{- range $name, $value := $values.env }}
      - { name: {{ $name }}, value: {{ $value | quote }} }
      {{- end }}
    ports:
      - { name: http, containerPort: 9452 }
    # A node starts with the migration of the catalogue, which may wait for that of another one.
    startupProbe: { httpGet: { path: /healthz, port: http }, periodSeconds: 2, failureThreshold: 60 }
    readinessProbe: { httpGet: { path: /readyz, port: http }, periodSeconds: 5, timeoutSeconds: 2 }
    livenessProbe: { httpGet: { path: /healthz, port: http }, periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 3 }
    resources: {{ toYaml .resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
      {{- with .appArmorProfile }}
      appArmorProfile: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- if .unmaskedProc }}
      procMount: Unmasked
      {{- end }}
    volumeMounts:
      - { name: data, mountPath: /data }
      - { name: tmp, mountPath: /tmp }
{{- end -}}
