output "cluster_id" {
  description = "Identifier of the cluster, for `doctl kubernetes cluster kubeconfig save`."
  value       = module.cluster.id
}

output "mqtt_passwords" {
  description = "Passwords of the clients of the broker."
  value       = module.platform.mqtt_passwords
  sensitive   = true
}

output "grafana_password" {
  description = "Password of the user admin of Grafana."
  value       = module.platform.grafana_password
  sensitive   = true
}

output "api_token" {
  description = "Token of the page and the API of flowrunner."
  value       = module.flowrunner.api_token
  sensitive   = true
}
