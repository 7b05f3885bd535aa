output "url" {
  description = "Public address of flowrunner."
  value       = "https://${local.flowrunner_host}"
}

output "mqtt_host" {
  description = "Public name of the broker, or null."
  value       = local.mqtt_host
}

output "namespace" {
  description = "Namespace of the ingress controller, whose pods may reach flowrunner."
  value       = kubernetes_namespace_v1.this.metadata[0].name
}
