resource "digitalocean_database_cluster" "this" {
  name                 = var.name
  engine               = "pg"
  version              = "17"
  region               = var.region
  size                 = var.size
  node_count           = var.node_count
  private_network_uuid = var.vpc_id
  tags                 = var.tags

  maintenance_window {
    day  = "sunday"
    hour = "03:00:00"
  }
}

resource "digitalocean_database_db" "flowrunner" {
  cluster_id = digitalocean_database_cluster.this.id
  name       = "flowrunner"
}

resource "digitalocean_database_user" "flowrunner" {
  cluster_id = digitalocean_database_cluster.this.id
  name       = "flowrunner"
}

resource "digitalocean_database_firewall" "this" {
  cluster_id = digitalocean_database_cluster.this.id

  rule {
    type  = "k8s"
    value = var.kubernetes_cluster_id
  }
}
