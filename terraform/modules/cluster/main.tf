data "digitalocean_kubernetes_versions" "offered" {
  version_prefix = "${var.kubernetes_minor}."
}

resource "digitalocean_vpc" "this" {
  name        = var.name
  region      = var.region
  description = "Nodes and database of ${var.name}"
  ip_range    = var.vpc_cidr
}

resource "digitalocean_kubernetes_cluster" "this" {
  name          = var.name
  region        = var.region
  version       = data.digitalocean_kubernetes_versions.offered.latest_version
  vpc_uuid      = digitalocean_vpc.this.id
  ha            = var.high_availability
  auto_upgrade  = true
  surge_upgrade = true
  tags          = var.tags

  # Volumes outlive the cluster: the journals of flowrunner and the data of InfluxDB are on them.
  destroy_all_associated_resources = false

  node_pool {
    name       = "default"
    size       = var.nodes.size
    auto_scale = var.nodes.max > var.nodes.min
    node_count = var.nodes.max > var.nodes.min ? null : var.nodes.min
    min_nodes  = var.nodes.max > var.nodes.min ? var.nodes.min : null
    max_nodes  = var.nodes.max > var.nodes.min ? var.nodes.max : null
    tags       = var.tags
  }

  maintenance_policy {
    day        = "sunday"
    start_time = "04:00"
  }

  dynamic "control_plane_firewall" {
    for_each = length(var.allowed_addresses) > 0 ? [var.allowed_addresses] : []

    content {
      enabled           = true
      allowed_addresses = control_plane_firewall.value
    }
  }

  lifecycle {
    # The cluster upgrades its patch version itself.
    ignore_changes = [version]
  }
}
