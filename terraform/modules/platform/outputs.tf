output "storage_class" {
  description = "Class of volumes that stay when their claim is deleted."
  value       = kubernetes_storage_class_v1.retained.metadata[0].name
}

output "data_namespace" {
  description = "Namespace of the broker and the database of measurements."
  value       = kubernetes_namespace_v1.data.metadata[0].name
}

output "monitoring_namespace" {
  description = "Namespace of Prometheus, Grafana, Loki, Alloy and the OpenTelemetry Collector."
  value       = kubernetes_namespace_v1.monitoring.metadata[0].name
}

output "mqtt_url" {
  description = "Address of the broker inside the cluster."
  value       = "mqtt://mosquitto.${kubernetes_namespace_v1.data.metadata[0].name}.svc:1883"
}

output "mqtt_passwords" {
  description = "Passwords of the clients of the broker, by user."
  value       = { for user, password in random_password.mqtt : user => password.result }
  sensitive   = true
}

output "influxdb" {
  description = "Address, organization, bucket and token of the InfluxDB that flows write to."
  value       = local.influxdb
  sensitive   = true
}

output "influxdb_in_cluster" {
  description = "Whether InfluxDB runs in the cluster."
  value       = local.own_influxdb
}

output "grafana_password" {
  description = "Password of the user admin of Grafana."
  value       = random_password.grafana.result
  sensitive   = true
}

output "otlp_endpoint" {
  description = "Where traces are sent to inside the cluster."
  value       = "http://otel-collector-opentelemetry-collector.${kubernetes_namespace_v1.monitoring.metadata[0].name}.svc:4318"
}
