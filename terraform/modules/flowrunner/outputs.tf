output "namespace" {
  description = "Namespace of flowrunner."
  value       = kubernetes_namespace_v1.this.metadata[0].name
}

output "service" {
  description = "Service with the HTTP port, 8080."
  value       = helm_release.flowrunner.name
}

output "api_token" {
  description = "Token of the HTTP API and the page."
  value       = random_password.api.result
  sensitive   = true
}
