output "id" {
  description = "Identifier of the cluster."
  value       = digitalocean_kubernetes_cluster.this.id
}

output "vpc_id" {
  description = "Identifier of the private network."
  value       = digitalocean_vpc.this.id
}

output "host" {
  description = "Address of the API of Kubernetes."
  value       = digitalocean_kubernetes_cluster.this.endpoint
}

output "token" {
  description = "Credential of the API, which changes after some days."
  value       = digitalocean_kubernetes_cluster.this.kube_config[0].token
  sensitive   = true
}

output "ca_certificate" {
  description = "Authority that signed the certificate of the API, in PEM."
  value       = base64decode(digitalocean_kubernetes_cluster.this.kube_config[0].cluster_ca_certificate)
  sensitive   = true
}

output "vpc_cidr" {
  description = "Range of the private network."
  value       = digitalocean_vpc.this.ip_range
}
