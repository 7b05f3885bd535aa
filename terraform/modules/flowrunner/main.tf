resource "kubernetes_namespace_v1" "this" {
  metadata {
    name   = "flowrunner"
    labels = { "pod-security.kubernetes.io/enforce" = "restricted" }
  }
}

resource "random_password" "api" {
  length  = 48
  special = false
}

resource "kubernetes_secret_v1" "mosquitto" {
  metadata {
    name      = "mosquitto"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data = { password = var.mqtt_password }
}

resource "kubernetes_secret_v1" "influxdb" {
  metadata {
    name      = "influxdb"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data = { token = var.influxdb_token }
}

resource "kubernetes_secret_v1" "flows" {
  metadata {
    name      = "flows"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data = var.secrets
}

resource "kubernetes_secret_v1" "settings" {
  metadata {
    name      = "settings"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data = merge(
    { "api-token" = random_password.api.result },
    var.catalog_url == null ? {} : { "catalog-url" = var.catalog_url },
  )
}

locals {
  with_catalog = nonsensitive(var.catalog_url != null)
  in_variables = merge(
    { FLOWRUNNER_API_TOKEN = { secret = "settings", key = "api-token" } },
    local.with_catalog ? { FLOWRUNNER_CATALOG_URL = { secret = "settings", key = "catalog-url" } } : {},
  )
  servers = [for server in var.servers : {
    ports = server.ports
    to = concat(
      [for name in server.namespaces : jsonencode({ namespaceSelector = { matchLabels = { "kubernetes.io/metadata.name" = name } } })],
      [for cidr in server.cidrs : jsonencode({ ipBlock = { cidr = cidr } })],
    )
  }]
  clients = [for name in var.clients : { namespaceSelector = { matchLabels = { "kubernetes.io/metadata.name" = name } } }]
}

resource "helm_release" "flowrunner" {
  name      = "flowrunner"
  namespace = kubernetes_namespace_v1.this.metadata[0].name
  chart     = "${path.module}/../../../charts/flowrunner"
  atomic    = true

  values = [yamlencode({
    image  = var.image
    shards = var.shards
    flows = {
      files = var.flows
      git   = var.git == null ? { repository = "" } : var.git
    }
    secrets   = { files = ["mosquitto", "influxdb", "flows"], variables = local.in_variables }
    variables = var.variables
    state     = { persistent = true, size = "${var.state_gb}Gi", storageClass = var.storage_class }
    networkPolicy = {
      clients = local.clients
      servers = [for server in local.servers : { ports = server.ports, to = [for peer in server.to : jsondecode(peer)] }]
    }
    metrics = {
      serviceMonitor = { enabled = true }
      rules          = { enabled = true }
      dashboard      = { enabled = true }
    }
  })]

  depends_on = [kubernetes_secret_v1.mosquitto, kubernetes_secret_v1.influxdb, kubernetes_secret_v1.flows, kubernetes_secret_v1.settings]
}
