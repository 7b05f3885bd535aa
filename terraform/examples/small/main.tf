# One node, everything in the cluster, nothing public: who wants to look uses `kubectl port-forward`.
module "cluster" {
  source = "../../modules/cluster"

  name   = "flowrunner"
  region = var.region
  nodes  = { size = "s-4vcpu-8gb", min = 1, max = 1 }
}

module "platform" {
  source = "../../modules/platform"

  depends_on = [module.cluster]
}

module "flowrunner" {
  source = "../../modules/flowrunner"

  image          = var.image
  flows          = { for name in fileset("${path.module}/flows", "*.yaml") : name => file("${path.module}/flows/${name}") if !endswith(name, ".test.yaml") }
  storage_class  = module.platform.storage_class
  mqtt_password  = module.platform.mqtt_passwords["flowrunner"]
  influxdb_token = module.platform.influxdb.token
  secrets        = { home-assistant = var.home_assistant_token }
  clients        = [module.platform.monitoring_namespace]

  variables = {
    HA_URL                      = var.home_assistant_url
    MQTT_URL                    = module.platform.mqtt_url
    INFLUX_URL                  = nonsensitive(module.platform.influxdb.url)
    INFLUX_ORG                  = nonsensitive(module.platform.influxdb.org)
    INFLUX_BUCKET               = nonsensitive(module.platform.influxdb.bucket)
    OTEL_EXPORTER_OTLP_ENDPOINT = module.platform.otlp_endpoint
  }

  servers = [
    { ports = [1883, 8086], namespaces = [module.platform.data_namespace] },
    { ports = [4318], namespaces = [module.platform.monitoring_namespace] },
    { ports = [443, 8123], cidrs = ["0.0.0.0/0"] },
  ]
}
