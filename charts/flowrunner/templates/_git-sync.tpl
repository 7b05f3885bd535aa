{{/* git-sync as a container that ends (once) or goes on: (dict "root" . "name" NAME "once" BOOL) */}}
{{- define "flowrunner.gitSync" -}}
{{- $git := .root.Values.flows.git -}}
- name: {{ .name }}
  image: {{ include "flowrunner.reference" (dict "image" $git.image "tag" "") }}
  securityContext:
    {{- include "flowrunner.containerSecurity" .root | nindent 4 }}
    runAsUser: 65533 # a user that its image knows, as ssh wants
  env:
    - { name: GITSYNC_REPO, value: {{ $git.repository | quote }} }
    - { name: GITSYNC_REF, value: {{ $git.ref | quote }} }
    - { name: GITSYNC_ROOT, value: /git }
    - { name: GITSYNC_LINK, value: current }
    - { name: HOME, value: /tmp }
    - { name: GITSYNC_DEPTH, value: "1" }
    {{- if .once }}
    - { name: GITSYNC_ONE_TIME, value: "true" }
    {{- else }}
    - { name: GITSYNC_PERIOD, value: {{ $git.period | quote }} }
    - { name: GITSYNC_MAX_FAILURES, value: "-1" }
    {{- end }}
    {{- if eq $git.auth "password" }}
    - name: GITSYNC_USERNAME
      valueFrom:
        secretKeyRef: { name: {{ $git.secret }}, key: username }
    - { name: GITSYNC_PASSWORD_FILE, value: /etc/git-secret/password }
    {{- else if eq $git.auth "ssh" }}
    - { name: GITSYNC_SSH_KEY_FILE, value: /etc/git-secret/ssh-privatekey }
    - { name: GITSYNC_SSH_KNOWN_HOSTS_FILE, value: /etc/git-secret/known_hosts }
    {{- end }}
  resources:
    requests: { cpu: 10m, memory: 32Mi }
    limits: { memory: 128Mi }
  volumeMounts:
    - { name: git, mountPath: /git }
    - { name: tmp, mountPath: /tmp }
    {{- if ne $git.auth "none" }}
    - { name: git-secret, mountPath: /etc/git-secret, readOnly: true }
    {{- end }}
{{- end -}}
