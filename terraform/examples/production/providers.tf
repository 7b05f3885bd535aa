# The token is read from DIGITALOCEAN_TOKEN.
provider "digitalocean" {}

provider "kubernetes" {
  host                   = module.cluster.host
  token                  = module.cluster.token
  cluster_ca_certificate = module.cluster.ca_certificate
}

provider "helm" {
  kubernetes = {
    host                   = module.cluster.host
    token                  = module.cluster.token
    cluster_ca_certificate = module.cluster.ca_certificate
  }
}
