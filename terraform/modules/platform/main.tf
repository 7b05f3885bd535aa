locals {
  charts = {
    influxdb   = { repository = "https://helm.influxdata.com/", chart = "influxdb2", version = "2.1.2" }
    prometheus = { repository = "https://prometheus-community.github.io/helm-charts", chart = "kube-prometheus-stack", version = "79.1.0" }
    loki       = { repository = "https://grafana.github.io/helm-charts", chart = "loki", version = "6.29.0" }
    alloy      = { repository = "https://grafana.github.io/helm-charts", chart = "alloy", version = "0.12.5" }
    collector  = { repository = "https://open-telemetry.github.io/opentelemetry-helm-charts", chart = "opentelemetry-collector", version = "0.158.3" }
  }
  own_influxdb = nonsensitive(var.influxdb_cloud == null)
  influxdb     = local.own_influxdb ? merge(var.influxdb, { url = "http://influxdb.data.svc:8086", token = random_password.influxdb_token[0].result }) : var.influxdb_cloud
  mqtt_users   = setunion(var.mqtt_users, ["flowrunner"])
}

# Nothing in `data` needs more than `baseline`; node-exporter reads the host, so `monitoring` is privileged.
resource "kubernetes_namespace_v1" "data" {
  metadata {
    name   = "data"
    labels = { "pod-security.kubernetes.io/enforce" = "baseline" }
  }
}

resource "kubernetes_namespace_v1" "monitoring" {
  metadata {
    name   = "monitoring"
    labels = { "pod-security.kubernetes.io/enforce" = "privileged" }
  }
}

# What is deleted by mistake can be had again: the volume stays, and the disk can grow.
resource "kubernetes_storage_class_v1" "retained" {
  metadata {
    name = "flowrunner-retained"
  }

  storage_provisioner    = "dobs.csi.digitalocean.com"
  reclaim_policy         = "Retain"
  allow_volume_expansion = true
  volume_binding_mode    = "WaitForFirstConsumer"
  parameters             = { "csi.storage.k8s.io/fstype" = "ext4" }
}

resource "random_password" "mqtt" {
  for_each = local.mqtt_users

  length  = 32
  special = false
}

resource "kubernetes_secret_v1" "mqtt" {
  metadata {
    name      = "mosquitto-users"
    namespace = kubernetes_namespace_v1.data.metadata[0].name
  }

  data = { for user, password in random_password.mqtt : user => password.result }
}

resource "helm_release" "mosquitto" {
  name      = "mosquitto"
  namespace = kubernetes_namespace_v1.data.metadata[0].name
  chart     = "${path.module}/../../charts/mosquitto"
  # A public broker starts when its certificate is there, which the edge asks for; that comes later.
  atomic = var.mqtt_host == null
  wait   = var.mqtt_host == null

  values = [yamlencode({
    users   = { secret = kubernetes_secret_v1.mqtt.metadata[0].name, names = sort(local.mqtt_users) }
    storage = { class = kubernetes_storage_class_v1.retained.metadata[0].name, size = "${var.storage_gb.mosquitto}Gi" }
    public  = { enabled = var.mqtt_host != null, tlsSecret = var.mqtt_tls_secret }
  })]
}

resource "random_password" "influxdb_admin" {
  count = local.own_influxdb ? 1 : 0

  length  = 32
  special = false
}

resource "random_password" "influxdb_token" {
  count = local.own_influxdb ? 1 : 0

  length  = 64
  special = false
}

resource "kubernetes_secret_v1" "influxdb" {
  count = local.own_influxdb ? 1 : 0

  metadata {
    name      = "influxdb-admin"
    namespace = kubernetes_namespace_v1.data.metadata[0].name
  }

  data = {
    "admin-password" = random_password.influxdb_admin[0].result
    "admin-token"    = random_password.influxdb_token[0].result
  }
}

resource "helm_release" "influxdb" {
  count = local.own_influxdb ? 1 : 0

  name       = "influxdb"
  namespace  = kubernetes_namespace_v1.data.metadata[0].name
  repository = local.charts.influxdb.repository
  chart      = local.charts.influxdb.chart
  version    = local.charts.influxdb.version
  atomic     = true

  values = [templatefile("${path.module}/values/influxdb.yaml.tftpl", {
    org           = var.influxdb.org
    bucket        = var.influxdb.bucket
    retention     = "${var.retention.influxdb_days * 24}h"
    secret        = kubernetes_secret_v1.influxdb[0].metadata[0].name
    storage_class = kubernetes_storage_class_v1.retained.metadata[0].name
    storage_gb    = var.storage_gb.influxdb
  })]
}

resource "random_password" "grafana" {
  length  = 32
  special = false
}

resource "kubernetes_secret_v1" "grafana" {
  metadata {
    name      = "grafana-admin"
    namespace = kubernetes_namespace_v1.monitoring.metadata[0].name
  }

  data = {
    "admin-user"     = "admin"
    "admin-password" = random_password.grafana.result
  }
}

resource "helm_release" "prometheus" {
  name       = "prometheus"
  namespace  = kubernetes_namespace_v1.monitoring.metadata[0].name
  repository = local.charts.prometheus.repository
  chart      = local.charts.prometheus.chart
  version    = local.charts.prometheus.version
  atomic     = true
  timeout    = 900

  values = [templatefile("${path.module}/values/prometheus.yaml.tftpl", {
    retention_days = var.retention.prometheus_days
    secret         = kubernetes_secret_v1.grafana.metadata[0].name
    storage_class  = kubernetes_storage_class_v1.retained.metadata[0].name
    prometheus_gb  = var.storage_gb.prometheus
    grafana_gb     = var.storage_gb.grafana
  })]
}

resource "helm_release" "loki" {
  name       = "loki"
  namespace  = kubernetes_namespace_v1.monitoring.metadata[0].name
  repository = local.charts.loki.repository
  chart      = local.charts.loki.chart
  version    = local.charts.loki.version
  atomic     = true

  values = [templatefile("${path.module}/values/loki.yaml.tftpl", {
    retention     = "${var.retention.loki_days * 24}h"
    storage_class = kubernetes_storage_class_v1.retained.metadata[0].name
    storage_gb    = var.storage_gb.loki
  })]
}

resource "helm_release" "alloy" {
  name       = "alloy"
  namespace  = kubernetes_namespace_v1.monitoring.metadata[0].name
  repository = local.charts.alloy.repository
  chart      = local.charts.alloy.chart
  version    = local.charts.alloy.version
  atomic     = true

  values = [file("${path.module}/values/alloy.yaml")]

  depends_on = [helm_release.loki]
}

resource "helm_release" "collector" {
  name       = "otel-collector"
  namespace  = kubernetes_namespace_v1.monitoring.metadata[0].name
  repository = local.charts.collector.repository
  chart      = local.charts.collector.chart
  version    = local.charts.collector.version
  atomic     = true

  values = [templatefile("${path.module}/values/collector.yaml.tftpl", {
    exporter = var.otlp_endpoint == null ? "debug" : "otlphttp"
    endpoint = var.otlp_endpoint
  })]
}
